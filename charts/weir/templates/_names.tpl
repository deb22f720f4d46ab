{{/* The chart's name. */}}
{{- define "weir.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 53 | trimSuffix "-" -}}
{{- end -}}

{{/* The name of every object of the release; 53 characters leave room for a suffix. */}}
{{- define "weir.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "weir.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 53 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "weir.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "weir.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* The webhook configuration is cluster-wide, so the namespace tells releases apart. */}}
{{- define "weir.webhookName" -}}
{{- printf "%s-%s-injection" .Release.Namespace (include "weir.fullname" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* It leaves room for a suffix, as the name of every role does. */}}
{{- define "weir.clusterRoleName" -}}
{{- printf "%s-%s" .Release.Namespace (include "weir.fullname" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/* The role of what injection needs beside what reconciling does, and what no namespace holds. */}}
{{- define "weir.injectionRoleName" -}}
{{- printf "%s-injection" (include "weir.clusterRoleName" .) -}}
{{- end -}}

{{- define "weir.leaseName" -}}
{{- printf "%s-leader" (include "weir.fullname" .) -}}
{{- end -}}

{{- define "weir.certificateName" -}}
{{- printf "%s-webhook" (include "weir.fullname" .) -}}
{{- end -}}

{{/* Whether pods are injected by a webhook: "true", or nothing. */}}
{{- define "weir.webhook" -}}
{{- if and .Values.webhook.enabled (eq .Values.injection.mode "webhook") -}}true{{- end -}}
{{- end -}}

{{/*
Whether the webhook's configuration of before stays, as injection.mode has become policy: until the policies are in
force the replicas of before answer it, and then the operator removes it. "true", or nothing; nothing, too, without a
cluster, as in `helm template`.
*/}}
{{- define "weir.webhookRetires" -}}
{{- if and .Release.IsUpgrade .Values.webhook.enabled (eq .Values.injection.mode "policy") -}}
{{- if lookup "admissionregistration.k8s.io/v1" "MutatingWebhookConfiguration" "" (include "weir.webhookName" .) -}}true{{- end -}}
{{- end -}}
{{- end -}}

{{/* Whether the API server knows the policies of injection.mode=policy, as far as Helm knows it: "true", or nothing. */}}
{{- define "weir.policies" -}}
{{- if .Capabilities.APIVersions.Has "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy" -}}true{{- end -}}
{{- end -}}

{{/* Whether anybody answers the webhook: "true", or nothing. */}}
{{- define "weir.webhookAnswers" -}}
{{- if or (include "weir.webhook" .) (include "weir.webhookRetires" .) -}}true{{- end -}}
{{- end -}}

{{/* The labels that select the operator's pods; they never change during an upgrade. */}}
{{- define "weir.selectorLabels" -}}
app.kubernetes.io/name: {{ include "weir.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{/* The labels of every object but the operator's pods, whose component is added to these. */}}
{{- define "weir.labels" -}}
app.kubernetes.io/name: {{ include "weir.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: weir
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* These labels and more, of which each stands once: (dict "root" $ "more" LABELS). */}}
{{- define "weir.labelsAnd" -}}
{{- toYaml (merge (dict) .more (fromYaml (include "weir.labels" .root))) -}}
{{- end -}}

{{/* A reference to an image: (dict "image" VALUES "chart" .Chart). */}}
{{- define "weir.image" -}}
{{- if .image.digest -}}
{{- printf "%s@%s" .image.repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" .image.repository (.image.tag | default .chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* What the restricted Pod Security level asks of a container. */}}
{{- define "weir.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* What the restricted Pod Security level asks of a pod. */}}
{{- define "weir.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}
