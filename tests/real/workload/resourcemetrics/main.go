// Serves metrics.k8s.io for the bench, as metrics-server does: what each kubelet says that its pods use, read through
// the API server (nodes/NAME/proxy/stats/summary).
//
//	resource-metrics ADDRESS KUBECTL KUBECONFIG
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log"
	"math/big"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"
)

const group = "/apis/metrics.k8s.io/v1beta1"

type object = map[string]any

type usage struct {
	Time           time.Time
	UsageNanoCores uint64
}

type memory struct{ WorkingSetBytes uint64 }

type summary struct {
	Node struct {
		NodeName string
		CPU      usage
		Memory   memory
	}
	Pods []struct {
		PodRef     struct{ Name, Namespace string }
		Containers []struct {
			Name   string
			CPU    usage
			Memory memory
		}
	}
}

type server struct{ kubectl, kubeconfig string }

// get asks the API server.
func (s server) get(path string, into any) error {
	out, err := exec.Command(s.kubectl, "--kubeconfig", s.kubeconfig, "get", "--raw", path).Output()
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return json.Unmarshal(out, into)
}

type named struct {
	Metadata struct {
		Name, Namespace string
		Labels          map[string]string
	}
}

// summaries are those of all nodes that have a kubelet.
func (s server) summaries() ([]summary, error) {
	var nodes struct{ Items []named }
	if err := s.get("/api/v1/nodes?labelSelector=bench%3Dreal", &nodes); err != nil {
		return nil, err
	}
	var all []summary
	for _, node := range nodes.Items {
		var one summary
		if err := s.get("/api/v1/nodes/"+node.Metadata.Name+"/proxy/stats/summary", &one); err != nil {
			log.Print(err)
			continue
		}
		all = append(all, one)
	}
	return all, nil
}

func used(cpu usage, memory memory) object {
	return object{"cpu": fmt.Sprintf("%dn", cpu.UsageNanoCores), "memory": fmt.Sprintf("%dKi", memory.WorkingSetBytes/1024)}
}

// pods lists what the pods of a namespace use, all of them if it is empty, as far as a label selector wants them.
func (s server) pods(namespace, selector string) ([]object, error) {
	path := "/api/v1/pods"
	if namespace != "" {
		path = "/api/v1/namespaces/" + namespace + "/pods"
	}
	var wanted struct{ Items []named }
	if err := s.get(path+"?labelSelector="+selector, &wanted); err != nil {
		return nil, err
	}
	labels := map[string]map[string]string{}
	for _, pod := range wanted.Items {
		labels[pod.Metadata.Namespace+"/"+pod.Metadata.Name] = pod.Metadata.Labels
	}
	nodes, err := s.summaries()
	if err != nil {
		return nil, err
	}
	items := []object{}
	for _, node := range nodes {
		for _, pod := range node.Pods {
			of, found := labels[pod.PodRef.Namespace+"/"+pod.PodRef.Name]
			if !found || len(pod.Containers) == 0 {
				continue
			}
			containers, measured := []object{}, time.Time{}
			for _, container := range pod.Containers {
				containers = append(containers, object{"name": container.Name, "usage": used(container.CPU, container.Memory)})
				if container.CPU.Time.After(measured) {
					measured = container.CPU.Time
				}
			}
			if measured.IsZero() {
				continue // it has not been measured yet
			}
			items = append(items, object{
				"metadata":  object{"name": pod.PodRef.Name, "namespace": pod.PodRef.Namespace, "labels": of},
				"timestamp": measured, "window": "10s", "containers": containers,
			})
		}
	}
	return items, nil
}

func (s server) nodes() ([]object, error) {
	all, err := s.summaries()
	items := []object{}
	for _, node := range all {
		items = append(items, object{"metadata": object{"name": node.Node.NodeName},
			"timestamp": node.Node.CPU.Time, "window": "10s", "usage": used(node.Node.CPU, node.Node.Memory)})
	}
	return items, err
}

func (s server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	resource := func(name, kind string, namespaced bool) object {
		return object{"name": name, "singularName": "", "namespaced": namespaced, "kind": kind, "verbs": []string{"get", "list"}}
	}
	list := func(kind string, items []object, err error) any {
		if err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			return object{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "ServiceUnavailable", "message": err.Error(), "code": 503}
		}
		return object{"kind": kind, "apiVersion": "metrics.k8s.io/v1beta1", "metadata": object{}, "items": items}
	}
	var answer any
	w.Header().Set("Content-Type", "application/json")
	path := strings.Split(strings.Trim(strings.TrimPrefix(r.URL.Path, group), "/"), "/")
	selector := strings.NewReplacer("=", "%3D", ",", "%2C", " ", "%20").Replace(r.URL.Query().Get("labelSelector"))
	switch {
	case r.URL.Path == "/apis/metrics.k8s.io" || r.URL.Path == "/healthz" || r.URL.Path == "/apis":
		version := object{"groupVersion": "metrics.k8s.io/v1beta1", "version": "v1beta1"}
		answer = object{"kind": "APIGroup", "apiVersion": "v1", "name": "metrics.k8s.io", "versions": []object{version}, "preferredVersion": version}
	case r.URL.Path == group:
		answer = object{"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "metrics.k8s.io/v1beta1",
			"resources": []object{resource("pods", "PodMetrics", true), resource("nodes", "NodeMetrics", false)}}
	case len(path) == 1 && path[0] == "nodes":
		items, err := s.nodes()
		answer = list("NodeMetricsList", items, err)
	case len(path) == 1 && path[0] == "pods":
		items, err := s.pods("", selector)
		answer = list("PodMetricsList", items, err)
	case len(path) == 3 && path[0] == "namespaces" && path[2] == "pods":
		items, err := s.pods(path[1], selector)
		answer = list("PodMetricsList", items, err)
	default:
		http.NotFound(w, r)
		return
	}
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		log.Print(err)
	}
}

// certificate is nobody's: the API server is told not to look.
func certificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	plain := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, plain, plain, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: resource-metrics ADDRESS KUBECTL KUBECONFIG")
	}
	own, err := certificate()
	if err != nil {
		log.Fatal(err)
	}
	https := &http.Server{Addr: os.Args[1], Handler: server{os.Args[2], os.Args[3]},
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{own}}, ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(https.ListenAndServeTLS("", ""))
}
