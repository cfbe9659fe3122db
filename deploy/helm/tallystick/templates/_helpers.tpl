{{/* What the five services are. Everything that differs between them stands here. `calls`: whom they ask over HTTPS. `paths`: what the edge sends
them, with everything below it; `/` is itself alone. */}}
{{- define "tallystick.services" -}}
identity:
  package: tallystick_identity
  keys: true
  durable: identity
  calls: [identity, ledger, privacy-worker]
  paths: [/, /.well-known/jwks.json, /account, /admin, /api/v1/auth, /api/v1/identity, /oauth, /session, /sign-in]
assessment:
  package: tallystick_assessment
  keys: true
  durable: assessment
  calls: [identity, ledger, privacy-worker]
  paths: [/api/v1/assessment]
ledger:
  package: tallystick_ledger
  keys: false
  durable: ledger
  calls: [identity, assessment, verification, privacy-worker]
  paths: [/api/v1/ledger, /open]
verification:
  package: tallystick_verification
  keys: false
  durable: verification
  calls: [identity, assessment, ledger, privacy-worker]
  paths: [/api/v1/verification, /certs]
privacy-worker:
  package: tallystick_privacy_worker
  keys: true
  durable: privacy
  calls: [identity, assessment, ledger, verification]
  paths: [/api/v1/compliance, /api/v1/privacy]
{{- end }}

{{- define "tallystick.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 38 | trimSuffix "-" }}
{{- end }}

{{/* At most 38 characters: what comes behind it must fit into a label. */}}
{{- define "tallystick.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 38 | trimSuffix "-" }}
{{- else }}
{{- $name := include "tallystick.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 38 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 38 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{/* The name of what holds a part's credentials: (list $ "identity-migrate") */}}
{{- define "tallystick.secret" -}}
{{- $root := index . 0 }}{{- $part := index . 1 }}
{{- get $root.Values.existingSecrets $part | default (printf "%s-%s" (include "tallystick.fullname" $root) $part) }}
{{- end }}

{{- define "tallystick.trust" -}}
{{- .Values.trust.existingConfigMap | default (printf "%s-trust" (include "tallystick.fullname" .)) }}
{{- end }}

{{/* Labels that never change: selectors are made of them. (list $ "identity-api") */}}
{{- define "tallystick.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "tallystick.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "tallystick.labels" -}}
{{- $root := index . 0 -}}
{{ include "tallystick.selector" . }}
app.kubernetes.io/part-of: tallystick
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* A service's image: (list $ "identity") */}}
{{- define "tallystick.image" -}}
{{- $root := index . 0 }}{{- $service := index . 1 }}
{{- $values := get $root.Values.services $service }}
{{- $registry := $root.Values.global.imageRegistry | default $root.Values.image.registry }}
{{- $name := printf "%s/%s" $root.Values.image.repository $service }}
{{- if $registry }}{{- $name = printf "%s/%s" $registry $name }}{{- end }}
{{- if $values.digest }}
{{- printf "%s@%s" $name $values.digest }}
{{- else }}
{{- printf "%s:%s" $name ($root.Values.image.tag | default $root.Chart.AppVersion) }}
{{- end }}
{{- end }}

{{/* Somebody else's image, behind the global registry where there is one: (list $ "docker.io/library/nats:2") */}}
{{- define "tallystick.foreignImage" -}}
{{- $root := index . 0 }}{{- $image := index . 1 }}
{{- with $root.Values.global.imageRegistry }}
{{- printf "%s/%s" . (regexReplaceAll "^[^/]*[.:][^/]*/" $image "") }}
{{- else }}
{{- $image }}
{{- end }}
{{- end }}

{{- define "tallystick.postgresHost" -}}
{{- if .Values.postgres.embedded.enabled }}
{{- printf "%s-postgres.%s.svc" (include "tallystick.fullname" .) .Release.Namespace }}
{{- else }}
{{- .Values.postgres.host }}
{{- end }}
{{- end }}

{{- define "tallystick.natsUrl" -}}
{{- if .Values.nats.embedded.enabled }}
{{- printf "tls://%s-nats.%s.svc:4222" (include "tallystick.fullname" .) .Release.Namespace }}
{{- else }}
{{- .Values.nats.url }}
{{- end }}
{{- end }}

{{/* A service's address inside the cluster: (list $ "identity") */}}
{{- define "tallystick.url" -}}
{{- $root := index . 0 -}}
{{- printf "https://%s-%s.%s.svc:%d" (include "tallystick.fullname" $root) (index . 1) $root.Release.Namespace (int $root.Values.port) }}
{{- end }}

{{- define "tallystick.publicUrl" -}}
{{- $root := index . 0 -}}
{{- $url := $root.Values.publicUrl }}
{{- if eq (index . 1) "verification" }}{{- $url = $root.Values.verificationUrl | default $url }}{{- end }}
{{- trimSuffix "/" $url }}
{{- end }}

{{- define "tallystick.publicHost" -}}
{{- (urlParse (include "tallystick.publicUrl" .)).hostname }}
{{- end }}

{{/* One process' values: the service's over everybody's. (list $ "identity" "api") gives YAML */}}
{{- define "tallystick.process" -}}
{{- $root := index . 0 }}{{- $service := index . 1 }}{{- $process := index . 2 }}
{{- $own := get (get $root.Values.services $service) $process | default dict }}
{{- mergeOverwrite (deepCopy (get $root.Values $process)) (deepCopy $own) | toYaml }}
{{- end }}

{{/* What every pod has: (dict "root" $ "component" "x" "fsGroup" 65532) */}}
{{- define "tallystick.pod" -}}
{{- $root := .root -}}
automountServiceAccountToken: {{ .token | default false }}
enableServiceLinks: false
dnsPolicy: {{ $root.Values.dnsPolicy }}
{{- with $root.Values.dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.global.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .user | default 65532 }}
  runAsGroup: {{ .user | default 65532 }}
  fsGroup: {{ .user | default 65532 }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "tallystick.podMetadata" -}}
{{- $root := index . 0 -}}
labels:
  {{- include "tallystick.labels" . | nindent 2 }}
  {{- with $root.Values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $root.Values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "tallystick.container" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
terminationMessagePath: /dev/termination-log
terminationMessagePolicy: FallbackToLogsOnError
{{- end }}

{{/* A service container's image and pull policy: (list $ "identity") */}}
{{- define "tallystick.imageOf" -}}
image: {{ include "tallystick.image" . | quote }}
imagePullPolicy: {{ (index . 0).Values.image.pullPolicy }}
{{- end }}

{{/* Small Jobs' requests and limits. */}}
{{- define "tallystick.jobResources" -}}
resources:
  requests: {cpu: 50m, memory: 128Mi}
  limits: {memory: 512Mi}
{{- end }}

{{/* A volume with public trust. */}}
{{- define "tallystick.trustVolume" -}}
- name: trust
  configMap:
    name: {{ include "tallystick.trust" . }}
- name: tmp
  emptyDir: {sizeLimit: 64Mi}
{{- end }}

{{/* The names of a service's secret files and the variables that point to them: (list "identity" "api") gives YAML */}}
{{- define "tallystick.secretFiles" -}}
{{- $service := index . 0 -}}
TALLY_DSN_FILE: dsn
TALLY_DUTY_DSN_FILE: duty-dsn
TALLY_NATS_SEED_FILE: nats-seed
TALLY_CLIENT_SECRET_FILE: client-secret
{{- if has $service (list "identity" "assessment" "privacy-worker") }}
TALLY_KEYS_DSN_FILE: keys-dsn
{{- end }}
{{- if has $service (list "identity" "assessment" "ledger" "privacy-worker") }}
TALLY_KEK_FILE: kek.json
TALLY_KEK_WATCHED: kek.json
{{- end }}
{{- if eq $service "identity" }}
TALLY_SESSION_KEY_FILE: session-keys.json
TALLY_SESSION_KEYS_WATCHED: session-keys.json
TALLY_CSRF_KEY_FILE: csrf-key
TALLY_BLIND_INDEX_KEY_FILE: blind-index-key
TALLY_CLIENTS_FILE: clients.json
{{- end }}
{{- if eq $service "ledger" }}
TALLY_CHECKPOINT_KEY_FILE: checkpoint-key
{{- if eq (index . 1) "worker" }}
TALLY_PURGE_DSN_FILE: purge-dsn
{{- end }}
{{- end }}
{{- end }}

{{/* The volumes with a process' secrets and its certificate: (list $ "identity" "api") */}}
{{- define "tallystick.secretVolumes" -}}
{{- $root := index . 0 }}{{- $service := index . 1 }}{{- $process := index . 2 -}}
- name: secrets
  secret:
    secretName: {{ include "tallystick.secret" (list $root $service) }}
    defaultMode: 0440
    items: # no more than this process needs
      {{- range $file := include "tallystick.secretFiles" (list $service $process) | fromYaml | values | sortAlpha | uniq }}
      - {key: {{ $file }}, path: {{ $file }}}
      {{- end }}
- name: tls
  secret:
    secretName: {{ include "tallystick.secret" (list $root (printf "%s-tls" $service)) }}
    defaultMode: 0440
    items:
      - {key: tls.crt, path: tls.crt}
      - {key: tls.key, path: tls.key}
{{- end }}

{{/* Whether the chart may rotate session keys: where both objects are its own. */}}
{{- define "tallystick.rotatesSessionKeys" -}}
{{- if and .Values.credentials.generate (not .Values.existingSecrets.identity) (not .Values.trust.existingConfigMap) }}true{{ end }}
{{- end }}

{{/* A service process' environment as a map of variable to text: (list $ "identity" "api") */}}
{{- define "tallystick.environment" -}}
{{- $root := index . 0 }}{{- $service := index . 1 }}{{- $process := index . 2 }}{{- $values := $root.Values }}
{{- $definition := get (include "tallystick.services" $root | fromYaml) $service -}}
TALLY_HOST: {{ $values.listenAddress | quote }}
TALLY_PORT: {{ $values.port | quote }}
TALLY_DRAIN_S: {{ $values.drainSeconds | quote }}
TALLY_PUBLIC_URL: {{ include "tallystick.publicUrl" (list $root $service) | quote }}
TALLY_NATS_URL: {{ include "tallystick.natsUrl" $root | quote }}
TALLY_LEDGER_ORIGIN: {{ $values.ledgerOrigin | quote }}
TALLY_CA_FILE: /etc/tallystick/trust/ca.crt
TALLY_SESSION_JWKS_FILE: /etc/tallystick/trust/session-jwks.json
TALLY_LEDGER_KEY_FILE: /etc/tallystick/trust/ledger-key
TALLY_TLS_CERT_FILE: /etc/tallystick/tls/tls.crt
TALLY_TLS_KEY_FILE: /etc/tallystick/tls/tls.key
TALLY_TERMINATION_LOG: /dev/termination-log
{{- range $variable, $file := include "tallystick.secretFiles" (list $service $process) | fromYaml }}
{{ $variable }}: /etc/tallystick/secrets/{{ $file }}
{{- end }}
{{- range $definition.calls }}
TALLY_URL_{{ . | replace "privacy-worker" "privacy" | upper }}: {{ include "tallystick.url" (list $root .) | quote }}
{{- end }}
{{- if eq $service "assessment" }}
TALLY_URL_VERIFICATION: {{ include "tallystick.publicUrl" (list $root "verification") | quote }} {{/* it stands in holders' links */}}
{{- end }}
{{- if eq $process "worker" }}
TALLY_WORKER_PORT: {{ $values.probePort | quote }}
{{- end }}
{{- with $values.trustedProxies }}
TALLY_TRUSTED_PROXIES: {{ join "," . | quote }}
{{- end }}
{{- with $values.telemetry.otlpEndpoint }}
TALLY_OTLP_ENDPOINT: {{ . | quote }}
OTEL_RESOURCE_ATTRIBUTES: {{ printf "service.namespace=%s.%s,k8s.namespace.name=%s" $root.Release.Namespace (include "tallystick.fullname" $root) $root.Release.Namespace | quote }}
{{- end }}
{{- if eq $service "identity" }}
TALLY_SMTP_HOST: {{ ternary (printf "%s-mail.%s.svc" (include "tallystick.fullname" $root) $root.Release.Namespace) $values.mail.host $values.mail.embedded.enabled | quote }}
TALLY_SMTP_PORT: {{ ternary 2525 (int $values.mail.port) $values.mail.embedded.enabled | quote }}
TALLY_SMTP_TLS: {{ $values.mail.embedded.enabled | ternary "starttls" $values.mail.tls | quote }}
TALLY_MAIL_FROM: {{ $values.mail.from | quote }}
{{- end }}
{{- if eq $service "ledger" }}
TALLY_CHECKPOINT_KEYS_DIR: /etc/tallystick/checkpoint-keys
{{- with $values.services.ledger.highWater }}
TALLY_HIGH_WATER: {{ .url | default "/var/lib/tallystick/high-water" | quote }}
{{- if .url }}
{{- with .endpoint }}
AWS_ENDPOINT: {{ . | quote }}
{{- end }}
{{- with .region }}
AWS_REGION: {{ . | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* The same as a container's `env`, with what the operator sets on top. */}}
{{- define "tallystick.env" -}}
{{- $root := index . 0 }}{{- $service := index . 1 }}
{{- $own := get $root.Values.services $service }}
{{- $environment := include "tallystick.environment" . | fromYaml }}
{{- $environment = mergeOverwrite $environment (deepCopy $root.Values.settings) (deepCopy ($own.settings | default dict)) }}
{{- range $variable, $value := $environment }}
- {name: {{ $variable }}, value: {{ ternary $value (toJson $value) (kindIs "string" $value) | quote }}}
{{- end }}
{{- with concat $root.Values.extraEnv ($own.extraEnv | default list) }}
{{- toYaml . | nindent 0 }}
{{- end }}
{{- end }}

{{/* The credentials of the ledger's object store, whose names only their Secret knows. */}}
{{- define "tallystick.envFrom" -}}
{{- $root := index . 0 }}
{{- with $root.Values.services.ledger.highWater }}
{{- if and (eq (index $ 1) "ledger") .url .existingSecret -}}
envFrom:
  - secretRef: {name: {{ .existingSecret }}}
{{- end }}
{{- end }}
{{- end }}

{{/* "true" where `helm test` does the main job: in a trial, in which mails can be read. */}}
{{- define "tallystick.mainJob" -}}
{{- if and .Values.tests.enabled .Values.tests.mainJob .Values.mail.embedded.enabled }}true{{ end }}
{{- end }}

{{/* Below it everybody has their address whom `helm test` makes up: the mail server's window shows no other mails. */}}
{{- define "tallystick.madeUpDomain" -}}
helm-test.example
{{- end }}

{{/* Whether database work runs in hooks: not with the embedded Postgres, which no hook can wait for. */}}
{{- define "tallystick.hooks" -}}
helm.sh/hook: pre-install,pre-upgrade
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}

{{/* Where a service's pod has its files. */}}
{{- define "tallystick.mounts" -}}
{{- $root := index . 0 }}{{- $service := index . 1 }}
- {name: tmp, mountPath: /tmp}
- {name: trust, mountPath: /etc/tallystick/trust, readOnly: true}
- {name: secrets, mountPath: /etc/tallystick/secrets, readOnly: true}
- {name: tls, mountPath: /etc/tallystick/tls, readOnly: true}
{{- if eq $service "ledger" }}
- {name: checkpoint-keys, mountPath: /etc/tallystick/checkpoint-keys, readOnly: true}
{{- if not $root.Values.services.ledger.highWater.url }}
- {name: high-water, mountPath: /var/lib/tallystick/high-water}
{{- end }}
{{- end }}
{{- end }}

{{/* What the credentials Job is told (JSON). */}}
{{- define "tallystick.plan" -}}
{{- $values := .Values }}
{{- $postgres := dict "host" (include "tallystick.postgresHost" .) "port" (int $values.postgres.port) "database" $values.postgres.database "keys_database" $values.postgres.keysDatabase "embedded" $values.postgres.embedded.enabled }}
{{- if $values.postgres.embedded.enabled }}{{- $_ := set $postgres "port" 5432 }}{{- end }}
{{- $names := deepCopy $values.existingSecrets }}
{{- with $values.trust.existingConfigMap }}{{- $_ := set $names "trust" . }}{{- end }}
{{- $labels := dict "app.kubernetes.io/name" (include "tallystick.name" .) "app.kubernetes.io/instance" .Release.Name "app.kubernetes.io/part-of" "tallystick" }}
{{- dict "prefix" (include "tallystick.fullname" .) "namespace" .Release.Namespace "postgres" $postgres "nats_embedded" $values.nats.embedded.enabled "mail_embedded" $values.mail.embedded.enabled "certificates" (eq $values.certificates.source "generated") "extra_authorities" $values.trust.certificates "names" $names "labels" $labels | toJson }}
{{- end }}
