// Package browser looks at the dashboard with a real browser: the example's lab, the fairlead command that serves the page, and
// Chromium. It is a module of its own, so that the mesh does not depend on what drives a browser. test/browser.sh runs it, with
// FAIRLEAD the command and CHROMIUM the browser.
package browser
