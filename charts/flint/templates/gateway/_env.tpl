{{/* What the gateway is told, as variables of its container. */}}
{{- define "flint.gatewayEnv" -}}
{{- $gateway := .Values.gateway }}
- name: FAAS_PROVIDER
  value: kubernetes
- name: FAAS_POD_NAMESPACE
  valueFrom: { fieldRef: { fieldPath: metadata.namespace } }
- name: FAAS_POD_NAME
  valueFrom: { fieldRef: { fieldPath: metadata.name } }
- name: FAAS_STATE_DIR
  value: /var/lib/flint/state
- name: FAAS_LOG
  value: {{ $gateway.logLevel | quote }}
- name: FAAS_ACCESS_LOG
  value: {{ $gateway.accessLog | quote }}
- name: basic_auth
  value: {{ .Values.basic_auth | quote }}
{{- if .Values.basic_auth }}
- name: secret_mount_path
  value: /var/secrets/gateway
{{- end }}
- name: read_timeout
  value: {{ $gateway.readTimeout | quote }}
- name: write_timeout
  value: {{ $gateway.writeTimeout | quote }}
- name: upstream_timeout
  value: {{ $gateway.upstreamTimeout | quote }}
- name: FAAS_SHUTDOWN_DELAY
  value: {{ $gateway.shutdownDelay | quote }}
- name: scale_from_zero
  value: {{ $gateway.scaleFromZero | quote }}
- name: FAAS_SCALE_BY_LOAD
  value: {{ $gateway.scaleByLoad | quote }}
{{- with include "flint.prometheusUrl" . }}
- name: prometheus_url
  value: {{ . | quote }}
{{- end }}
{{- if $gateway.maxReplicas }}
- name: FAAS_MAX_REPLICAS
  value: {{ $gateway.maxReplicas | int64 | quote }}
{{- end }}
{{- with $gateway.clientRate }}
- name: FAAS_CLIENT_RATE
  value: {{ . | quote }}
{{- end }}
{{- with $gateway.trustedProxies }}
- name: FAAS_TRUSTED_PROXIES
  value: {{ join "," . | quote }}
{{- end }}
{{- if .Values.tls.enabled }}
- name: FAAS_TLS_CERT
  value: /var/secrets/tls/tls.crt
- name: FAAS_TLS_KEY
  value: /var/secrets/tls/tls.key
- name: FAAS_PLAIN_HTTP
  value: {{ .Values.tls.plainHttp | quote }}
{{- end }}
{{- if .Values.caBundleSecretName }}
- name: SSL_CERT_FILE
  value: /var/secrets/ca/ca.crt
{{- end }}
{{ include "flint.functionEnv" . | trim }}
{{- with $gateway.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What it is told about functions. */}}
{{- define "flint.functionEnv" -}}
{{- $functions := .Values.functions }}
- name: function_namespace
  value: {{ .Values.functionNamespace | quote }}
- name: FAAS_CLUSTER_WIDE
  value: {{ .Values.clusterRole | quote }}
- name: profiles_namespace
  value: {{ include "flint.profilesNamespace" . | quote }}
- name: image_pull_policy
  value: {{ $functions.imagePullPolicy | quote }}
- name: http_probe
  value: {{ $functions.httpProbe | quote }}
- name: set_nonroot_user
  value: {{ $functions.setNonRootUser | quote }}
- name: FAAS_NETWORK_POLICIES
  value: {{ .Values.networkPolicies.enabled | quote }}
{{- range $probe := list "readiness" "liveness" }}
{{- $times := index $functions (printf "%sProbe" $probe) }}
{{- range $variable, $key := dict "initial_delay_seconds" "initialDelaySeconds" "timeout_seconds" "timeoutSeconds" "period_seconds" "periodSeconds" "success_threshold" "successThreshold" "failure_threshold" "failureThreshold" }}
{{- if hasKey $times $key }}
- name: {{ $probe }}_probe_{{ $variable }}
  value: {{ index $times $key | int64 | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Where Profile objects are. */}}
{{- define "flint.profilesNamespace" -}}
{{- .Values.functions.profilesNamespace | default .Release.Namespace }}
{{- end }}
