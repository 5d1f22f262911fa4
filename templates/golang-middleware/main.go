// The HTTP server around the handler. The watchdog starts it, waits until it listens, and is its
// only client.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	function "handler/function"
)

// The longest that calls in flight may take after SIGTERM is the watchdog's to say.
func main() {
	server := &http.Server{
		Addr:           "127.0.0.1:8082",
		Handler:        recovering(function.Handle),
		MaxHeaderBytes: 1 << 20,
	}
	drained := make(chan struct{})
	go drain(server, drained)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
	<-drained
}

// drain finishes the calls in flight after SIGTERM.
func drain(server *http.Server, drained chan<- struct{}) {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	<-stop
	if err := server.Shutdown(context.Background()); err != nil {
		log.Print(err)
	}
	close(drained)
}

// recovering answers 500 for a handler that panics, and logs why.
func recovering(handle http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			cause := recover()
			if cause == nil {
				return
			}
			if cause == http.ErrAbortHandler {
				panic(cause)
			}
			log.Printf("panic: %v\n%s", cause, debug.Stack())
			http.Error(w, fmt.Sprint(cause), http.StatusInternalServerError)
		}()
		handle(w, r)
	})
}
