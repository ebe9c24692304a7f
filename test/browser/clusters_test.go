package browser

import (
	"testing"

	"github.com/chromedp/chromedp"
)

// TestTwoClusters: with two linked labs that have the same workloads the map has each of them in the box of its cluster, and a link to
// the one elsewhere shows what went there.
func TestTwoClusters(t *testing.T) {
	state := t.TempDir()
	_, west := startLabIn(t, "browser-west", state)
	startLabIn(t, "browser-east", state)
	command(t, "lab", "link", "browser-west", "browser-east", "--state-dir", state)
	load(t, west)
	url, _ := serve(t, west, "0")
	ctx := open(t)
	visit := func(link string) {
		t.Helper()
		if err := chromedp.Do(ctx, chromedp.Navigate("about:blank"), chromedp.Navigate(url+link)); err != nil {
			t.Fatal(err)
		}
	}
	visit("#/map?window=60")
	see(t, ctx, "the workload of this cluster", `!!document.querySelector('g.node[data-id="myapp/deployment/users-v1"]')`)
	see(t, ctx, "its namesake elsewhere", `!!document.querySelector('g.node[data-id="myapp/deployment/users-v1@browser-east"]')`)
	see(t, ctx, "a box for each cluster", `["cluster browser-east", "cluster browser-west"].every(n => [...document.querySelectorAll("g.box.cluster text")].some(e => e.textContent == n))`)
	visit("#/map?window=60&as=table")
	see(t, ctx, "calls to each, told with the cluster", `["users-v1myapp · browser-west", "users-v1 (browser-east)myapp · browser-east"].every(n => [...document.querySelectorAll("main tbody td")].some(e => e.textContent.replaceAll(" myapp", "myapp") == n))`)
	visit("#/workloads/workload/myapp/deployment/users-v1%40browser-east?window=60")
	see(t, ctx, "whose it is", `!!document.querySelector(".octopus .middle")?.innerText.includes("of cluster browser-east")`)
	see(t, ctx, "who called it", `[...document.querySelectorAll(".octopus .arm.src li")].some(e => e.innerText.includes("orders-service"))`)
	see(t, ctx, "its course", `document.querySelectorAll("main canvas").length == 3`)
}
