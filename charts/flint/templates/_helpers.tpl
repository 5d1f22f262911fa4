{{/* Labels of all objects; the argument is the root. */}}
{{- define "flint.labels" -}}
app.kubernetes.io/name: flint
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Labels that tell pods of a component; the argument is a list of the root and the component's name. */}}
{{- define "flint.selector" -}}
app.kubernetes.io/name: flint
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Name of objects that no namespace holds. */}}
{{- define "flint.clusterName" -}}
{{- printf "%s-%s-gateway" .Release.Namespace .Release.Name }}
{{- end }}

{{/* The full name of an image; the argument is a list of the root, the image and its default tag. */}}
{{- define "flint.image" -}}
{{- $image := index . 1 }}
{{- with (index . 0).Values.registryPrefix }}{{ trimSuffix "/" . }}/{{ end }}{{ $image.repository }}
{{- if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default (index . 2) }}{{ end }}
{{- end }}

{{/* Seconds of a duration such as 1m05s, or of a plain number; parts below a second are dropped. */}}
{{- define "flint.seconds" -}}
{{- $text := . | toString }}
{{- if regexMatch "^[0-9]+$" $text }}{{ $text }}
{{- else }}
{{- $hours := regexFind "[0-9]+h" $text | trimSuffix "h" | default "0" | atoi }}
{{- $minutes := regexFind "[0-9]+m($|[0-9])" $text | regexFind "[0-9]+" | default "0" | atoi }}
{{- $seconds := regexFind "[0-9]+(\\.[0-9]+)?s$" $text | regexFind "^[0-9]+" | default "0" | atoi }}
{{- add (mul $hours 3600) (mul $minutes 60) $seconds }}
{{- end }}
{{- end }}

{{/* What all containers of the chart may not do. */}}
{{- define "flint.containerSecurity" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* The security context of a pod; the argument is its part of the values. */}}
{{- define "flint.podSecurity" -}}
{{- $own := dict "runAsNonRoot" true "seccompProfile" (dict "type" "RuntimeDefault") }}
{{- toYaml (mergeOverwrite $own (deepCopy .)) }}
{{- end }}

{{/* Where loads come from. */}}
{{- define "flint.prometheusUrl" -}}
{{- if .Values.prometheus.url }}{{ .Values.prometheus.url }}
{{- else if .Values.prometheus.create }}http://prometheus.{{ .Release.Namespace }}:9090
{{- end }}
{{- end }}

{{/* Whether the chart makes the namespace of functions. */}}
{{- define "flint.makesNamespace" -}}
{{- if and .Values.createFunctionNamespace (ne .Values.functionNamespace .Release.Namespace) }}true{{ end }}
{{- end }}

{{/* Values that contradict each other end here, with what to do. */}}
{{- define "flint.check" -}}
{{- if and .Values.tls.enabled (not .Values.tls.secretName) }}
{{- fail "tls.enabled needs tls.secretName: make a Secret of type kubernetes.io/tls, and name it" }}
{{- end }}
{{- if and (eq .Values.tls.plainHttp "off") (not .Values.tls.enabled) }}
{{- fail "tls.plainHttp=off leaves no way in: set tls.enabled and tls.secretName, or tls.plainHttp=all" }}
{{- end }}
{{- if and .Values.prometheus.create .Values.prometheus.url }}
{{- fail "prometheus.create and prometheus.url contradict each other: unset one of them" }}
{{- end }}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) }}
{{- fail "httpRoute.enabled needs httpRoute.parentRefs: name the Gateway that the route belongs to" }}
{{- end }}
{{- if and .Values.gateway.autoscaling.enabled (lt (int .Values.gateway.autoscaling.maxReplicas) (int .Values.gateway.replicas)) }}
{{- fail "gateway.autoscaling.maxReplicas is below gateway.replicas, which is the least: raise it" }}
{{- end }}
{{- end }}
