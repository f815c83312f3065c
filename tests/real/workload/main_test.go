package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func scrape(t *testing.T, url string) string {
	t.Helper()
	response, err := http.DefaultClient.Get(url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func wants(t *testing.T, body string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains(body, line+"\n") {
			t.Errorf("no line %q in\n%s", line, body)
		}
	}
}

func start(t *testing.T) (*shop, *httptest.Server) {
	t.Helper()
	t.Setenv("APP", "checkout")
	t.Setenv("TARGET_APP", "checkout")
	t.Setenv("CAPACITY", "1")
	t.Setenv("QUEUE_TIME", "20ms")
	t.Setenv("SERVICE_TIME", "10ms")
	t.Setenv("TIMEOUT", "500ms")
	s, err := newShop()
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s.handler())
	t.Cleanup(server.Close)
	return s, server
}

func TestAnAnswerIsCountedByTheShop(t *testing.T) {
	_, server := start(t)
	visitors, err := newShoppers(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	visitors.visit()
	wants(t, scrape(t, server.URL),
		`http_requests_total{app="checkout",code="200"} 1`,
		`http_requests_total{app="checkout",code="503"} 0`,
		`http_request_duration_seconds_bucket{app="checkout",le="0.005"} 0`,
		`http_request_duration_seconds_bucket{app="checkout",le="+Inf"} 1`)
}

func TestBeyondItsCapacityRequestsQueueAndFail(t *testing.T) {
	s, server := start(t)
	s.slots <- struct{}{} // somebody takes very long
	visitors, err := newShoppers(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	visitors.visit()
	wants(t, scrape(t, server.URL), `http_requests_total{app="checkout",code="503"} 1`)
}

func TestWithoutAnAnswerTheShoppersCount(t *testing.T) {
	_, server := start(t)
	visitors, err := newShoppers(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	server.Close()
	visitors.visit()
	own := httptest.NewServer(visitors.handler())
	defer own.Close()
	wants(t, scrape(t, own.URL),
		`http_requests_total{app="checkout",code="503"} 1`,
		`http_requests_total{app="checkout",code="200"} 0`)
}

func TestReadyOnlyAfterItsStart(t *testing.T) {
	s, server := start(t)
	for _, step := range []struct {
		ready bool
		code  int
	}{{false, 503}, {true, 200}} {
		s.ready.Store(step.ready)
		response, err := server.Client().Get(server.URL + "/healthz")
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != step.code {
			t.Errorf("ready %v: %d", step.ready, response.StatusCode)
		}
	}
}

func TestBuckets(t *testing.T) {
	m := newMetrics("http", "x")
	m.count(200, 5*time.Millisecond)
	m.count(200, 6*time.Millisecond)
	m.count(200, time.Minute)
	if m.within[0] != 1 || m.within[1] != 1 || m.answered != 3 {
		t.Errorf("%v of %d", m.within, m.answered)
	}
}

func TestRelay(t *testing.T) {
	_, server := start(t)
	t.Setenv("PORT", freePort(t))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- relay(ctx, server.Listener.Addr().String()) }()
	var body string
	for range 100 {
		response, err := http.Get("http://127.0.0.1:" + text("PORT", "") + "/metrics")
		if err != nil {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		all, _ := io.ReadAll(response.Body)
		response.Body.Close()
		body = string(all)
		break
	}
	wants(t, body, `http_requests_total{app="checkout",code="200"} 0`)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return port
}

func TestAPodAnswersWhenThoseThatItCallsHave(t *testing.T) {
	_, database := start(t)
	t.Setenv("CALLS", database.URL)
	_, server := start(t)
	for _, want := range []int{http.StatusOK, http.StatusBadGateway} {
		response, err := http.Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%d, not %d", response.StatusCode, want)
		}
		database.Close()
	}
}

func TestACallThatIsNotAnsweredInTimeIsA504(t *testing.T) {
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { time.Sleep(100 * time.Millisecond) }))
	t.Cleanup(slow.Close)
	t.Setenv("CALLS", slow.URL)
	t.Setenv("CALL_TIMEOUT", "20ms")
	_, server := start(t)
	response, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusGatewayTimeout {
		t.Errorf("%d", response.StatusCode)
	}
}
