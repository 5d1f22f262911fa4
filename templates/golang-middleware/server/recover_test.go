package main

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestPanicAnswers500(t *testing.T) {
	recorder := httptest.NewRecorder()
	recovering(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Left", "over")
		panic("trouble")
	})).ServeHTTP(recorder, httptest.NewRequest("GET", "/", nil))
	if recorder.Code != 500 || recorder.Header().Get("X-Left") != "" {
		t.Fatalf("answered %d with %v", recorder.Code, recorder.Header())
	}
}

func TestPanicInAnAnswerBreaksIt(t *testing.T) {
	server := httptest.NewServer(recovering(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Write([]byte("some"))
		w.(http.Flusher).Flush()
		panic("trouble")
	})))
	defer server.Close()
	response, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := response.Body.Read(make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	if _, err := response.Body.Read(make([]byte, 4)); err == nil || err.Error() == "EOF" {
		t.Fatalf("the answer looks whole: %v", err)
	}
}
