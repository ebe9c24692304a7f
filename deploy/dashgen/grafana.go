package main

import (
	"encoding/json"
	"strings"
)

// dashboard is a page of Grafana.
type dashboard struct {
	// name is that of the file, and the end of the dashboard's UID; title is what the list of dashboards shows.
	name, title string
	variables   []variable
	rows        []row
}

// variable is a choice at the top of a page, from the values of a label.
type variable struct {
	name, label string
	// values is the argument of label_values: a selector and a label.
	values string
	// several may be chosen, all are at first.
	several bool
}

// row is a heading and the panels beneath, side by side.
type row struct {
	title  string
	panels []panel
}

// panel is one graph, or one number where now is set.
type panel struct {
	title, about string
	// unit is one of Grafana's: reqps, percentunit, ms, s, Bps, bytes, short and so on.
	unit    string
	now     bool
	queries []query
}

// query is an expression, and what its series are called.
type query struct{ expr, legend string }

// Grafana's own form. Sizes are units of its grid, which is 24 wide.
const (
	gridWidth, rowHeight, numberHeight, graphHeight = 24, 1, 4, 8

	schemaVersion = 39
)

type (
	object map[string]any
	list   []any
)

// source is the data source that the user chose at the top of the page.
func source() object { return object{"type": "prometheus", "uid": "${datasource}"} }

func (d *dashboard) json() ([]byte, error) {
	var out strings.Builder
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(object{
		"uid": "fairlead-" + d.name, "title": d.title, "tags": list{"fairlead", "service-mesh"}, "schemaVersion": schemaVersion,
		"editable": true, "graphTooltip": 1, "refresh": "30s", "timezone": "browser",
		"time": object{"from": "now-1h", "to": "now"}, "templating": object{"list": d.choices()}, "panels": d.panels(),
	})
	return []byte(out.String()), err
}

func (d *dashboard) choices() list {
	all := list{object{"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "refresh": 1}}
	for _, v := range d.variables {
		o := object{
			"name": v.name, "label": v.label, "type": "query", "datasource": source(), "refresh": 2, "sort": 1,
			"query": object{"query": "label_values(" + v.values + ")", "refId": "variable"}, "multi": v.several, "includeAll": v.several,
		}
		if v.several {
			o["allValue"], o["current"] = ".*", object{"text": list{"All"}, "value": list{"$__all"}}
		}
		all = append(all, o)
	}
	return all
}

func (d *dashboard) panels() list {
	var all list
	y := 0
	for _, r := range d.rows {
		all = append(all, object{
			"id": len(all) + 1, "type": "row", "title": r.title, "collapsed": false, "panels": list{},
			"gridPos": object{"x": 0, "y": y, "w": gridWidth, "h": rowHeight},
		})
		y += rowHeight
		width, height := gridWidth/len(r.panels), numberHeight
		for _, p := range r.panels {
			if !p.now {
				height = graphHeight
			}
		}
		for i := range r.panels {
			o := r.panels[i].object()
			o["id"], o["gridPos"] = len(all)+1, object{"x": i * width, "y": y, "w": width, "h": height}
			all = append(all, o)
		}
		y += height
	}
	return all
}

func (p *panel) object() object {
	var targets list
	for i, q := range p.queries {
		targets = append(targets, object{
			"refId": string(rune('A' + i)), "expr": q.expr, "legendFormat": q.legend, "datasource": source(),
			"instant": p.now, "range": !p.now,
		})
	}
	o := object{"title": p.title, "description": p.about, "datasource": source(), "targets": targets}
	if p.now {
		o["type"] = "stat"
		o["fieldConfig"] = object{"defaults": object{"unit": p.unit, "noValue": "0"}, "overrides": list{}}
		o["options"] = object{"reduceOptions": object{"calcs": list{"lastNotNull"}}, "colorMode": "none", "graphMode": "none"}
		return o
	}
	o["type"] = "timeseries"
	o["fieldConfig"] = object{"defaults": object{"unit": p.unit, "min": 0, "custom": object{"fillOpacity": 10, "showPoints": "never"}}, "overrides": list{}}
	o["options"] = object{"legend": object{"displayMode": "list", "placement": "bottom"}, "tooltip": object{"mode": "multi", "sort": "desc"}}
	return o
}
