package browser

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"
)

// sick is what makes the problems that the picture of them shows.
const sick = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: orders-service
  namespace: myapp
spec:
  hosts:
    - orders-service
  http:
    - name: canary
      route:
        - destination: {host: orders-service, subset: v2}
          weight: 10
        - destination: {host: orders-service}
          weight: 90
---
apiVersion: v1
kind: Service
metadata: {name: billing, namespace: myapp}
spec:
  clusterIP: 10.96.3.9
  selector: {app: billing}
  ports: [{name: http, port: 8080}]
`

// TestScreenshots takes the pictures of the documentation, where FAIRLEAD_SHOTS names the directory for them: make screenshots.
func TestScreenshots(t *testing.T) {
	shots := os.Getenv("FAIRLEAD_SHOTS")
	if shots == "" {
		t.Skip("FAIRLEAD_SHOTS names no directory")
	}
	dir, lab := startLab(t)
	load(t, lab)
	url, _ := serve(t, lab, "0")
	ctx := open(t)
	for _, shot := range []struct{ name, link, seen string }{
		{"overview", "#/overview", `document.querySelectorAll("main canvas").length > 0 && document.querySelectorAll("main tbody tr").length > 0`},
		{"map", "#/map?sel=myapp%2Fdeployment%2Forders-service%3Emyapp%2Fdeployment%2Fusers-v1", shared(90) + ` && !!document.querySelector("aside h2") && document.querySelectorAll("aside canvas").length > 0`},
		{"workload", "#/workloads/workload/myapp/deployment/users-v1", `document.querySelectorAll("main canvas").length > 2 && [...document.querySelectorAll("main tbody tr")].filter(r => r.innerText.includes("left")).length > 1`},
		{"service", "#/workloads/service/myapp/users-service", `document.querySelectorAll("main canvas").length > 2 && ` + rows + `.length > 2`},
		{"live", "#/live?run=1&ns=myapp&resource=deploy%2Forders-service", `(document.querySelector("aside h2") || document.querySelectorAll("main tbody tr.link").length < 20 || document.querySelector("main tbody tr.link").click(), !!document.querySelector("aside h2"))`},
		{"problems", "#/problems", `["subset", "billing"].every(w => document.querySelector("main").innerText.includes(w))`},
		{"config", "#/config/VirtualService/myapp/orders-service", `document.querySelectorAll(".yaml .row").length > 10 && !!document.querySelector(".yaml .said")`},
	} {
		if shot.name == "problems" {
			if err := os.WriteFile(filepath.Join(dir, "sick.yaml"), []byte(sick), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := chromedp.Do(ctx, chromedp.Navigate("about:blank"), chromedp.Navigate(url+shot.link)); err != nil {
			t.Fatal(err)
		}
		see(t, ctx, shot.name, shot.seen)
		see(t, ctx, "the end of loading", `!document.querySelector("main .loading")`)
		png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(shots, "dashboard-"+shot.name+".png"), png, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
