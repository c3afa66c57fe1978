{{/* Each template takes a dict: `root` is the context of the chart, `name` is the process. */}}

{{- define "merganser.name" -}}
{{ .root.Release.Name | trunc 40 | trimSuffix "-" }}-{{ .name }}
{{- end }}

{{- define "merganser.selector" -}}
app.kubernetes.io/name: merganser
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .name }}
{{- end }}

{{- define "merganser.labels" -}}
{{ include "merganser.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- define "merganser.metadata" -}}
name: {{ include "merganser.name" . }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "merganser.labels" . | nindent 2 }}
{{- end }}

{{- define "merganser.image" -}}
{{- $image := .root.Values.image -}}
{{ $image.repository }}{{ if $image.digest }}@{{ $image.digest }}{{ else }}:{{ $image.tag | default .root.Chart.AppVersion }}{{ end }}
{{- end }}

{{/* The environment of every process. */}}
{{- define "merganser.environment" -}}
{{- $values := .root.Values -}}
{{- $kafka := $values.kafka -}}
- name: MERGANSER_DATABASE_URL
  valueFrom:
    secretKeyRef: {name: {{ $values.database.secret }}, key: {{ $values.database.urlKey }}}
- {name: MERGANSER_KAFKA_BOOTSTRAP, value: {{ $kafka.bootstrap | quote }}}
- {name: MERGANSER_TOPIC, value: {{ $kafka.topic | quote }}}
- {name: MERGANSER_DEAD_TOPIC, value: {{ $kafka.deadTopic | quote }}}
- {name: MERGANSER_REFUSED_TOPIC, value: {{ $kafka.refusedTopic | quote }}}
- {name: MERGANSER_TOPIC_PARTITIONS, value: {{ $kafka.partitions | quote }}}
- {name: MERGANSER_TOPIC_REPLICAS, value: {{ $kafka.replicas | quote }}}
- {name: MERGANSER_CONSUMER_GROUP, value: {{ $kafka.consumerGroup | quote }}}
- {name: MERGANSER_KAFKA_SECURITY, value: {{ $kafka.security }}}
{{- if hasPrefix "SASL" $kafka.security }}
- {name: MERGANSER_KAFKA_SASL_MECHANISM, value: {{ $kafka.sasl.mechanism }}}
- name: MERGANSER_KAFKA_SASL_USERNAME
  valueFrom:
    secretKeyRef: {name: {{ $kafka.sasl.secret }}, key: {{ $kafka.sasl.usernameKey }}}
- name: MERGANSER_KAFKA_SASL_PASSWORD
  valueFrom:
    secretKeyRef: {name: {{ $kafka.sasl.secret }}, key: {{ $kafka.sasl.passwordKey }}}
{{- end }}
{{- if $kafka.ca.secret }}
- {name: MERGANSER_KAFKA_CA, value: /etc/merganser/kafka-ca/ca.crt}
{{- end }}
{{- if $kafka.certificate.secret }}
- {name: MERGANSER_KAFKA_CERTIFICATE, value: /etc/merganser/kafka-certificate/tls.crt}
- {name: MERGANSER_KAFKA_KEY, value: /etc/merganser/kafka-certificate/tls.key}
{{- end }}
{{- with $values.tracing }}{{ if and .endpoint (has $.name (list "ingest" "resolver")) }}
- {name: MERGANSER_OTLP_ENDPOINT, value: {{ .endpoint | quote }}}
- {name: OTEL_TRACES_SAMPLER, value: parentbased_traceidratio}
- {name: OTEL_TRACES_SAMPLER_ARG, value: {{ .ratio | quote }}}
{{- if .headers.secret }}
- name: OTEL_EXPORTER_OTLP_HEADERS
  valueFrom:
    secretKeyRef: {name: {{ .headers.secret }}, key: {{ .headers.key }}}
{{- end }}
{{- end }}{{ end }}
{{- if and (eq .name "console") $values.console.url }}
- {name: MERGANSER_CONSOLE_URL, value: {{ $values.console.url | quote }}}
{{- end }}
{{- /* Numbers as JSON has them: to print 33554432 would give 3.3554432e+07. */}}
{{- range $name, $value := merge dict (.own | default dict) $values.settings }}
- {name: {{ $name }}, value: {{ kindIs "string" $value | ternary $value (toJson $value) | quote }}}
{{- end }}
{{- end }}

{{- define "merganser.mounts" -}}
{{- $values := .root.Values -}}
{{- if $values.kafka.ca.secret }}
- {name: kafka-ca, mountPath: /etc/merganser/kafka-ca, readOnly: true}
{{- end }}
{{- if $values.kafka.certificate.secret }}
- {name: kafka-certificate, mountPath: /etc/merganser/kafka-certificate, readOnly: true}
{{- end }}
{{- if $values.database.ca.secret }}
- {name: database-ca, mountPath: /etc/merganser/database-ca, readOnly: true}
{{- end }}
{{- range $index, $secret := $values.files }}
- {name: files-{{ $index }}, mountPath: /etc/merganser/files/{{ $secret }}, readOnly: true}
{{- end }}
{{- end }}

{{- define "merganser.volumes" -}}
{{- $kafka := .root.Values.kafka -}}
{{- $database := .root.Values.database -}}
{{- with $kafka.ca }}{{ if .secret }}
- name: kafka-ca
  secret:
    secretName: {{ .secret }}
    items: [{key: {{ .key }}, path: ca.crt}]
{{- end }}{{ end }}
{{- with $kafka.certificate }}{{ if .secret }}
- name: kafka-certificate
  secret:
    secretName: {{ .secret }}
    items: [{key: {{ .certificateKey }}, path: tls.crt}, {key: {{ .keyKey }}, path: tls.key}]
{{- end }}{{ end }}
{{- with $database.ca }}{{ if .secret }}
- name: database-ca
  secret:
    secretName: {{ .secret }}
    items: [{key: {{ .key }}, path: ca.crt}]
{{- end }}{{ end }}
{{- range $index, $secret := .root.Values.files }}
- name: files-{{ $index }}
  secret:
    secretName: {{ $secret }}
    defaultMode: 0440 # libpq refuses a key that other users may read
{{- end }}
{{- end }}

{{/* The container of a process. Its argument is the name of the process, or `args`. */}}
{{- define "merganser.container" -}}
name: {{ .name }}
image: {{ include "merganser.image" . }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
args: {{ .args | default (list .name) | toJson }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- with include "merganser.mounts" . }}
volumeMounts:
  {{- . | nindent 2 }}
{{- end }}
resources:
  {{- toYaml .resources | nindent 2 }}
{{- end }}

{{- define "merganser.probes" -}}
livenessProbe:
  httpGet: {path: /healthz, port: ops}
  periodSeconds: 10
  timeoutSeconds: 3
readinessProbe:
  httpGet: {path: /readyz, port: ops}
  periodSeconds: 5
  timeoutSeconds: 3
{{- end }}

{{/* The pod of a process without its containers; it conforms to the pod security standard `restricted`. */}}
{{- define "merganser.pod" -}}
{{- $values := .root.Values -}}
serviceAccountName: {{ $values.serviceAccountName }}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: 30
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- with $values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
  {{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "merganser.selector" $ | nindent 8 }}
  {{- end }}
{{- with include "merganser.volumes" . }}
volumes:
  {{- . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "merganser.podMetadata" -}}
{{- $values := .root.Values -}}
labels:
  {{- include "merganser.labels" . | nindent 2 }}
  {{- with $values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
