{{/* What the chart's own Prometheus scrapes: every gateway, and the watchdog of every replica. */}}
{{- define "flint.prometheusConfig" -}}
global:
  scrape_interval: 15s
  evaluation_interval: 15s
rule_files: [/etc/prometheus/rules.yaml]
scrape_configs:
  - job_name: gateway
    scrape_interval: {{ .Values.prometheus.scrapeInterval }}
    kubernetes_sd_configs:
      - role: pod
        namespaces: { names: [{{ .Release.Namespace }}] }
    relabel_configs:
      - source_labels:
          - __meta_kubernetes_pod_label_app_kubernetes_io_instance
          - __meta_kubernetes_pod_label_app_kubernetes_io_component
          - __meta_kubernetes_pod_container_port_name
        regex: {{ .Release.Name }};gateway;metrics
        action: keep
      - source_labels: [__meta_kubernetes_pod_name]
        target_label: pod
  - job_name: replicas
    kubernetes_sd_configs:
      - role: pod
        namespaces: { names: [{{ .Values.functionNamespace }}] }
    relabel_configs:
      - source_labels: [__meta_kubernetes_pod_label_faas_function]
        regex: .+
        action: keep
      - source_labels: [__meta_kubernetes_pod_phase]
        regex: Running
        action: keep
      # One of a pod's ports is enough, and whatever it is, this is the watchdog's.
      - source_labels: [__meta_kubernetes_pod_container_port_number]
        regex: "8080"
        action: keep
      - source_labels: [__meta_kubernetes_pod_ip]
        regex: "([^:]+)"
        replacement: "${1}:8081"
        target_label: __address__
      - source_labels: [__meta_kubernetes_pod_ip]
        regex: "(.+:.+)"
        replacement: "[${1}]:8081"
        target_label: __address__
      - source_labels: [__meta_kubernetes_pod_label_faas_function, __meta_kubernetes_namespace]
        separator: "."
        target_label: function_name
      - source_labels: [__meta_kubernetes_pod_name]
        target_label: replica
{{- end }}
