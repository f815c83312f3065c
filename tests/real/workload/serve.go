package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// shop takes serviceTime for a request and works on as many at once as it has
// slots; the others queue, and fail when they have queued for queueTime. For
// each request it asks those that it calls, one after another, with connections
// that it keeps, as to a database.
type shop struct {
	serviceTime, queueTime time.Duration
	calls                  []string
	client                 *http.Client
	slots                  chan struct{}
	ready                  atomic.Bool
	metrics                *metrics
}

func newShop() (*shop, error) {
	service, err := duration("SERVICE_TIME", 20*time.Millisecond)
	if err != nil {
		return nil, err
	}
	queue, err := duration("QUEUE_TIME", time.Second)
	if err != nil {
		return nil, err
	}
	capacity, err := number("CAPACITY", 100)
	if err != nil {
		return nil, err
	}
	patience, err := duration("CALL_TIMEOUT", time.Second)
	if err != nil {
		return nil, err
	}
	return &shop{
		serviceTime: service,
		queueTime:   queue,
		calls:       strings.Fields(os.Getenv("CALLS")),
		client:      &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: capacity}},
		slots:       make(chan struct{}, capacity),
		metrics:     newMetrics("http", text("APP", "demo-shop")),
	}, nil
}

func serve(ctx context.Context) error {
	s, err := newShop()
	if err != nil {
		return err
	}
	startup, err := duration("STARTUP", 0)
	if err != nil {
		return err
	}
	lag, err := duration("DRAIN", 2*time.Second)
	if err != nil {
		return err
	}
	time.AfterFunc(startup, func() { s.ready.Store(true) })
	return listen(ctx, s.handler(), func() {
		// Not ready at once, but serving until the endpoints have noticed.
		s.ready.Store(false)
		time.Sleep(lag)
	})
}

func (s *shop) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", s.visit)
	mux.HandleFunc("/metrics", s.metrics.serve)
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		if !s.ready.Load() {
			http.Error(w, "not ready", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	return mux
}

func (s *shop) visit(w http.ResponseWriter, r *http.Request) {
	started := time.Now()
	s.metrics.inFlight.Add(1)
	defer s.metrics.inFlight.Add(-1)
	code := s.work(r.Context())
	if code == 0 {
		return // The shopper has gone and counted it.
	}
	w.WriteHeader(code)
	fmt.Fprintln(w, http.StatusText(code))
	s.metrics.count(code, time.Since(started))
}

// work returns the status of the answer, 0 when nobody waits for it any more.
func (s *shop) work(ctx context.Context) int {
	queue := time.NewTimer(s.queueTime)
	defer queue.Stop()
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-queue.C:
		return http.StatusServiceUnavailable
	case <-ctx.Done():
		return 0
	}
	done := time.NewTimer(s.serviceTime)
	defer done.Stop()
	select {
	case <-done.C:
	case <-ctx.Done():
		return 0
	}
	for _, url := range s.calls {
		if code := s.call(ctx, url); code != http.StatusOK {
			return code
		}
	}
	return http.StatusOK
}

// call returns the status that a failed call makes of the request.
func (s *shop) call(ctx context.Context, url string) int {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return http.StatusBadGateway
	}
	response, err := s.client.Do(request)
	if err == nil {
		_, err = io.Copy(io.Discard, response.Body)
		response.Body.Close()
	}
	var late interface{ Timeout() bool }
	switch {
	case ctx.Err() != nil:
		return 0
	case errors.As(err, &late) && late.Timeout():
		return http.StatusGatewayTimeout
	case err != nil || response.StatusCode >= 500:
		return http.StatusBadGateway
	}
	return http.StatusOK
}
