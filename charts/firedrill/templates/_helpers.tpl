{{- define "firedrill.image" -}}
{{ .Values.image.name | default (printf "firedrill/firedrill:%s" .Chart.AppVersion) }}
{{- end }}

{{- define "firedrill.agentImage" -}}
{{ .Values.agents.image | default (printf "firedrill/firedrill-agent:%s" .Chart.AppVersion) }}
{{- end }}

{{- /* Who may place agents beside the controller, as the rest of a list in CEL. */ -}}
{{- define "firedrill.agentUsers" -}}
{{- range .Values.agents.users -}}
, '{{ . }}'
{{- end -}}
{{- end }}

{{- /* Whether the red button is this release's: one that is there already is somebody's, and may be pressed. */ -}}
{{- define "firedrill.haltIsOurs" -}}
{{- $there := dict -}}
{{- if .Capabilities.APIVersions.Has "firedrill.dev/v1alpha1" -}}
{{- $there = lookup "firedrill.dev/v1alpha1" "Guardrail" "" "halt" -}}
{{- end -}}
{{- $by := dig "metadata" "annotations" (dict) $there -}}
{{- $name := get $by "meta.helm.sh/release-name" -}}
{{- $namespace := get $by "meta.helm.sh/release-namespace" -}}
{{- if or (not $there) (and (eq $name .Release.Name) (eq $namespace .Release.Namespace)) -}}
true
{{- end -}}
{{- end }}

{{- define "firedrill.selector" -}}
app.kubernetes.io/name: firedrill
app.kubernetes.io/component: controller
{{- end }}

{{- define "firedrill.labels" -}}
{{ include "firedrill.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- /* The accounts that may hit nodes, as a list in CEL. */ -}}
{{- define "firedrill.nodeAccounts" -}}
{{- range $at, $account := .Values.nodeFaults.accounts -}}
{{- if $at }}, {{ end }}'system:serviceaccount:{{ $account }}'
{{- end -}}
{{- end }}

{{- /* What is the same of every pod of firedrill's: Pod Security restricted, nothing writable. */ -}}
{{- define "firedrill.container" -}}
image: {{ include "firedrill.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{- define "firedrill.pod" -}}
serviceAccountName: firedrill
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
- name: {{ . }}
{{- end }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}
