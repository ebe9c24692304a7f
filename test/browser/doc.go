// Package browser looks at the dashboard with a real browser: the fairlead command that serves the page of the example's lab, and
// the page with the data that web/mock makes up, where axe-core looks at every view and the browser's own trace is held against
// the page's budgets. It is a module of its own, so that the mesh does not depend on what drives a browser. test/browser.sh runs
// it, with FAIRLEAD the command and CHROMIUM the browser; axe-core is that of web/node_modules.
package browser
