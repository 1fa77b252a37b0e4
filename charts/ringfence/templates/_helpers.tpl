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
