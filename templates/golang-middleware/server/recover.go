package main

import (
	"bufio"
	"io"
	"log"
	"net"
	"net/http"
	"runtime/debug"
)

// recovering answers 500 for a handler that panics, and logs why. An answer that has begun is broken off,
// so that nobody takes it for a whole one.
func recovering(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := &watched{ResponseWriter: w}
		defer func() {
			reason := recover()
			if reason == nil {
				return
			}
			if reason != http.ErrAbortHandler {
				log.Printf("panic: %v\n%s", reason, debug.Stack())
			}
			if answer.begun || reason == http.ErrAbortHandler {
				panic(http.ErrAbortHandler)
			}
			removeAll(w.Header())
			http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		}()
		next.ServeHTTP(answer, r)
	})
}

func removeAll(header http.Header) {
	for name := range header {
		delete(header, name)
	}
}

// watched notes whether an answer has begun. It can do what the ResponseWriter of net/http can.
type watched struct {
	http.ResponseWriter
	begun bool
}

func (w *watched) WriteHeader(status int) {
	// 1xx answers come before the real one.
	w.begun = w.begun || status >= 200 || status == http.StatusSwitchingProtocols
	w.ResponseWriter.WriteHeader(status)
}

func (w *watched) Write(data []byte) (int, error) {
	w.begun = true
	return w.ResponseWriter.Write(data)
}

func (w *watched) ReadFrom(source io.Reader) (int64, error) {
	w.begun = true
	return io.Copy(w.ResponseWriter, source)
}

func (w *watched) Flush() {
	w.begun = true
	w.ResponseWriter.(http.Flusher).Flush()
}

func (w *watched) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.begun = true
	return w.ResponseWriter.(http.Hijacker).Hijack()
}

// Unwrap lets http.ResponseController reach what it is asked for.
func (w *watched) Unwrap() http.ResponseWriter {
	return w.ResponseWriter
}
