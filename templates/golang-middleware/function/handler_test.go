package function

import (
	"net/http/httptest"
	"strings"
	"testing"
)

func TestAnswersWithWhatItWasSent(t *testing.T) {
	answer := httptest.NewRecorder()
	Handle(answer, httptest.NewRequest("POST", "/", strings.NewReader("hi")))
	if got := answer.Body.String(); got != "Hello from Go. You said: hi" {
		t.Fatalf("answered %q", got)
	}
}
