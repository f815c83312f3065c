package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	neturl "net/url"
	"strconv"
	"time"
)

// shoppers visit a URL at a constant rate whatever its answers take (an open
// loop), each with a connection of their own, so that they spread over the
// Service's endpoints.
type shoppers struct {
	url     string
	client  *http.Client
	slots   chan struct{}
	visited *metrics // what the shoppers saw: every request
	shop    *metrics // what no pod can count: requests without an answer
}

// opening is how long the shoppers wait for the shop's first answer before they
// count: a shop that is only just being set up has not failed anybody.
const opening = 30 * time.Second

func newShoppers(url string) (*shoppers, error) {
	// Refused here is an address whose $(VARIABLES) Kubernetes did not know yet.
	if _, err := neturl.ParseRequestURI(url); err != nil {
		return nil, err
	}
	timeout, err := duration("TIMEOUT", 2*time.Second)
	if err != nil {
		return nil, err
	}
	inFlight, err := number("MAX_IN_FLIGHT", 1000)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext:       (&net.Dialer{Timeout: timeout}).DialContext,
	}
	return &shoppers{
		url:     url,
		client:  &http.Client{Timeout: timeout, Transport: transport},
		slots:   make(chan struct{}, inFlight),
		visited: newMetrics("load", text("APP", "shoppers")),
		shop:    newMetrics("http", text("TARGET_APP", "demo-shop")),
	}, nil
}

func runLoad(ctx context.Context, url, rate string) error {
	perSecond, err := strconv.ParseFloat(rate, 64)
	if err != nil || perSecond <= 0 {
		return fmt.Errorf("not a rate in requests per second: %q", rate)
	}
	s, err := newShoppers(url)
	if err != nil {
		return err
	}
	go func() {
		s.awaitOpening(ctx)
		s.visitAll(ctx, time.Duration(float64(time.Second)/perSecond))
	}()
	return listen(ctx, s.handler(), func() {})
}

func (s *shoppers) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, r *http.Request) {
		s.visited.serve(w, r)
		s.shop.writeRequests(w)
	})
	return mux
}

func (s *shoppers) awaitOpening(ctx context.Context) {
	deadline := time.Now().Add(opening)
	for ctx.Err() == nil && time.Now().Before(deadline) {
		response, err := s.client.Get(s.url)
		if err == nil {
			response.Body.Close()
			if response.StatusCode < 500 {
				return
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// visitAll keeps to the timetable: a late tick is made up for, never dropped.
func (s *shoppers) visitAll(ctx context.Context, gap time.Duration) {
	for next := time.Now(); ctx.Err() == nil; next = next.Add(gap) {
		time.Sleep(time.Until(next))
		select {
		case s.slots <- struct{}{}:
			go func() {
				s.visit()
				<-s.slots
			}()
		default:
			s.record(0, 0) // too many without an answer already
		}
	}
}

func (s *shoppers) visit() {
	started := time.Now()
	s.visited.inFlight.Add(1)
	defer s.visited.inFlight.Add(-1)
	response, err := s.client.Get(s.url)
	if err != nil {
		s.record(0, time.Since(started))
		return
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		s.record(0, time.Since(started))
		return
	}
	s.record(response.StatusCode, time.Since(started))
}

// record takes code 0 for a request without an answer.
func (s *shoppers) record(code int, took time.Duration) {
	if code == 0 {
		code = http.StatusServiceUnavailable
		s.shop.count(code, took)
	}
	s.visited.count(code, took)
}
