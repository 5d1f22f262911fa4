package function

import (
	"net/http/httptest"
	"strings"
	"testing"
)

func TestItGreets(t *testing.T) {
	for body, want := range map[string]string{"": "Hello, world!\n", "Ada\n": "Hello, Ada!\n"} {
		recorder := httptest.NewRecorder()
		Handle(recorder, httptest.NewRequest("POST", "/", strings.NewReader(body)))
		if got := recorder.Body.String(); got != want {
			t.Errorf("%q: %q", body, got)
		}
	}
}
