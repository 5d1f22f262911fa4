package function

import (
	"fmt"
	"io"
	"net/http"
	"strings"
)

// The longest name that is greeted, in bytes.
const maxName = 1024

// Handle greets whoever the body names.
func Handle(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxName))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	name := strings.TrimSpace(string(body))
	if name == "" {
		name = "world"
	}
	fmt.Fprintf(w, "Hello, %s!\n", name)
}
