package main

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Prometheus' own defaults, in seconds.
var buckets = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}

// metrics of one app, in Prometheus' text format, as PREFIX_requests_total etc.
type metrics struct {
	prefix, app string
	inFlight    atomic.Int64

	mu       sync.Mutex
	requests map[int]uint64 // by status
	within   []uint64       // by bucket, each request in one
	answered uint64
	seconds  float64
}

// newMetrics starts with 200 and 503 at zero: a rate does not see the first
// count of a series that begins with it.
func newMetrics(prefix, app string) *metrics {
	return &metrics{
		prefix:   prefix,
		app:      app,
		requests: map[int]uint64{http.StatusOK: 0, http.StatusServiceUnavailable: 0},
		within:   make([]uint64, len(buckets)),
	}
}

func (m *metrics) count(code int, took time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.requests[code]++
	m.answered++
	m.seconds += took.Seconds()
	if i, _ := slices.BinarySearch(buckets, took.Seconds()); i < len(buckets) {
		m.within[i]++
	}
}

func (m *metrics) serve(w http.ResponseWriter, _ *http.Request) {
	m.writeRequests(w)
	m.writeDurations(w)
	name := m.prefix + "_requests_in_flight"
	fmt.Fprintf(w, "# TYPE %s gauge\n%s{app=%q} %d\n", name, name, m.app, m.inFlight.Load())
}

func (m *metrics) writeRequests(w io.Writer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	codes := make([]int, 0, len(m.requests))
	for code := range m.requests {
		codes = append(codes, code)
	}
	slices.Sort(codes)
	name := m.prefix + "_requests_total"
	fmt.Fprintf(w, "# TYPE %s counter\n", name)
	for _, code := range codes {
		fmt.Fprintf(w, "%s{app=%q,code=\"%d\"} %d\n", name, m.app, code, m.requests[code])
	}
}

func (m *metrics) writeDurations(w io.Writer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name := m.prefix + "_request_duration_seconds"
	fmt.Fprintf(w, "# TYPE %s histogram\n", name)
	sum := uint64(0)
	for i, bound := range buckets {
		sum += m.within[i]
		le := strconv.FormatFloat(bound, 'g', -1, 64)
		fmt.Fprintf(w, "%s_bucket{app=%q,le=%q} %d\n", name, m.app, le, sum)
	}
	fmt.Fprintf(w, "%s_bucket{app=%q,le=\"+Inf\"} %d\n", name, m.app, m.answered)
	fmt.Fprintf(w, "%s_sum{app=%q} %g\n%s_count{app=%q} %d\n", name, m.app, m.seconds, name, m.app, m.answered)
}
