{{- /* Give every value that is not there its default. `helm upgrade --reuse-values` brings those of the chart that was installed before, and this
       one may want more. What is there is left as it is, also if it is empty. To be included by each template, first of all. */ -}}
{{- define "ringfence.complete" -}}
{{- include "ringfence.fill" (list .Values (.Files.Get "files/defaults.yaml" | fromYaml)) }}
{{- end }}

{{- define "ringfence.fill" -}}
{{- $there := index . 0 }}
{{- range $key, $default := index . 1 }}
{{- if not (hasKey $there $key) }}
{{- $_ := set $there $key $default }}
{{- else if and (kindIs "map" $default) (kindIs "map" (index $there $key)) }}
{{- include "ringfence.fill" (list (index $there $key) $default) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "ringfence.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "ringfence.labels" -}}
app.kubernetes.io/name: ringfence
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- /* Where the API server is, if not where Kubernetes itself says. */ -}}
{{- define "ringfence.apiServer" -}}
{{- if .Values.apiServer.host }}
- name: KUBERNETES_SERVICE_HOST
  value: {{ .Values.apiServer.host | quote }}
{{- end }}
{{- if .Values.apiServer.port }}
- name: KUBERNETES_SERVICE_PORT
  value: {{ .Values.apiServer.port | toString | quote }}
{{- end }}
{{- end }}

{{- /* A service account as the API server names its user. */ -}}
{{- define "ringfence.controllerUser" -}}
system:serviceaccount:{{ .Release.Namespace }}:ringfence-controller
{{- end }}
{{- define "ringfence.agentUser" -}}
system:serviceaccount:{{ .Release.Namespace }}:ringfence-agent
{{- end }}

{{- /* "yes" if an object of the Prometheus operator is wanted: always, never, or auto, where its kind is served. */ -}}
{{- define "ringfence.wanted" -}}
{{- $top := index . 0 }}{{ $wish := index . 1 | toString }}{{ $kind := index . 2 }}
{{- if eq $wish "true" }}yes{{ else if eq $wish "auto" }}
{{- if $top.Capabilities.APIVersions.Has (printf "monitoring.coreos.com/v1/%s" $kind) }}yes{{ end }}
{{- end }}
{{- end }}

{{- /* The spec of a pod that asks `ringfence doctor` about the named parts, as the controller, looks again for so many seconds while something is broken, and ends. */ -}}
{{- define "ringfence.doctorPod" -}}
{{- $top := index . 0 }}
restartPolicy: Never
serviceAccountName: ringfence-controller
enableServiceLinks: false
{{- with $top.Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $top.Values.controller.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $top.Values.controller.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ $top.Values.controller.runAsUser }}
  runAsGroup: {{ $top.Values.controller.runAsUser }}
  seccompProfile: {type: RuntimeDefault}
containers:
  - name: doctor
    image: {{ include "ringfence.image" $top }}
    imagePullPolicy: {{ $top.Values.image.pullPolicy }}
    command: [ringfence, doctor]
    args:
      - --release-namespace=$(POD_NAMESPACE)
      {{- range index . 1 }}
      - --only={{ . }}
      {{- end }}
      - --wait={{ index . 2 }}
    env:
      - name: POD_NAMESPACE
        valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
      {{- include "ringfence.apiServer" $top | nindent 6 }}
    resources:
      requests: {cpu: 50m, memory: 128Mi}
      limits: {memory: 256Mi}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: {drop: [ALL]}
{{- end }}

{{- /* "yes" if cert-manager makes the webhook's certificate. */ -}}
{{- define "ringfence.certManager" -}}
{{- $wish := .Values.webhook.certManager | toString }}
{{- if eq $wish "true" }}yes{{ else if eq $wish "auto" }}
{{- if .Capabilities.APIVersions.Has "cert-manager.io/v1/Certificate" }}yes{{ end }}
{{- end }}
{{- end }}

{{- /* The Secret with the webhook's certificate: two names, so that neither maker finds the other's. */ -}}
{{- define "ringfence.webhookSecret" -}}
ringfence-webhook{{ if include "ringfence.certManager" . }}-cert-manager{{ end }}
{{- end }}

{{- /* On what an agent needs to sign off, where watchdogs are on: `helm uninstall --no-hooks` takes rights away while agents are still ending,
       and an agent whose "not armed" nobody accepts leaves the watchdog armed. So helm leaves these; see docs/uninstall.md. */ -}}
{{- define "ringfence.outlasts" -}}
{{- if .Values.agent.watchdog.enabled }}
annotations:
  helm.sh/resource-policy: keep
{{- end }}
{{- end }}
