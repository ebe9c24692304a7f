{{/* Labels of every object. Call with (dict "root" $ "component" "controller"). */}}
{{- define "fairlead.labels" -}}
{{ include "fairlead.selector" . }}
app.kubernetes.io/part-of: fairlead
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end }}

{{/* Labels that select pods; a Deployment cannot change them once it exists. */}}
{{- define "fairlead.selector" -}}
app.kubernetes.io/name: fairlead
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* By these labels Kiali and istioctl find a control plane, and its revision. */}}
{{- define "fairlead.istiod" -}}
{{- if .Values.compat.kiali }}
app: istiod
istio.io/rev: default
{{- end }}
{{- end }}

{{/* An image. Call with (dict "root" $ "name" "proxy"). */}}
{{- define "fairlead.image" -}}
{{ required "image.hub is not set: say where the images are, such as image.hub=registry.example.com/mesh" .root.Values.image.hub }}/{{ .name }}:{{ .root.Values.image.tag | default .root.Chart.AppVersion }}
{{- end }}

{{/* What a pod needs to pull images. */}}
{{- define "fairlead.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* The access log: unquoted, off is false in YAML. */}}
{{- define "fairlead.accessLog" -}}
{{ .Values.mesh.accessLog | default "off" }}
{{- end }}

{{/* What the controller is told of traces. */}}
{{- define "fairlead.tracing" -}}
{{- with .Values.tracing -}}
- --tracing-enabled={{ .enabled }}
- --tracing-sampling={{ .sampling }}
{{- with .otlp.endpoint }}
- {{ printf "--tracing-otlp-endpoint=%s" . | quote }}
- --tracing-otlp-protocol={{ $.Values.tracing.otlp.protocol }}
{{- end }}
{{- with .zipkin.endpoint }}
- {{ printf "--tracing-zipkin-endpoint=%s" . | quote }}
{{- end }}
- --tracing-service-name={{ .serviceName }}
- --tracing-otel-names={{ .otelNames }}
- --tracing-max-tag-length={{ int .maxTagLength }}
{{- with .customTags }}
- {{ printf "--tracing-custom-tags=%s" (toJson .) | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* Namespaces that are never injected: what the cluster needs to start, and the injector's own. */}}
{{- define "fairlead.exemptNamespaces" -}}
- key: kubernetes.io/metadata.name
  operator: NotIn
  values: [kube-system, kube-node-lease, kube-public, {{ .Release.Namespace }}]
{{- end }}
