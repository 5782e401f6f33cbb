"""The commented settings file that ``radloop init`` writes; deploy/example.toml equals it."""

from __future__ import annotations

from string import Template

_TEMPLATE = Template("""\
# radloop settings. Research use only. Unknown keys are refused by name.
# Paths are relative to this file.

data_folder = "data"                # images, reports, database: patient data, mode 0700

[dicom]                             # where the PACS or the modalities send images (C-STORE)
ae_title = "$ae_title"
host = "127.0.0.1"                  # set the address of a network card to serve the hospital
port = $dicom_port
receiver_processes = 2              # receiving never waits for a model: separate processes
study_quiet_seconds = 60.0          # a study is complete when nothing came for so long
minimum_free_bytes = 1073741824     # below this, new associations are refused until space returns
accept_unknown_peers = true         # any AE title; on loopback only. Else false: the peers below
default_issuer_of_patient_id = ""   # assumed where images do not state (0010,0021)
default_issuer_of_accession_number = ""   # assumed where images do not state (0008,0051)

# [[dicom.peers]]                   # a sender; the title is refused from anywhere else
# ae_title = "MR1"
# host = "192.0.2.10"               # name or address; networks = ["192.0.2.0/24"] for a range
# issuer_of_patient_id = "HOSPITAL" # assumed where its images are silent
# issuer_of_accession_number = "RIS"
# commitment_port = 104             # it may ask us to commit; its reports go to host and this port

# [[dicom.completion]]              # studies that are complete when certain series are there
# modality = "MR"
# body_part = "LSPINE"
# study_description = "*spine*"     # * and ? stand for anything; the first rule that fits counts
# series = ["sag T2*", "sag T1*"]   # each must match a series with images
# quiet_seconds = 10.0              # once all of them are there
# give_up_seconds = 86400.0         # complete as it is after so much silence without them; 0: never

# [dicom.tls]                       # a second port with TLS and certificates on both sides
# port = 2762
# certificate = "tls/node.pem"      # ours, with the chain up to the authority
# key = "tls/node.key"
# authorities = "tls/authorities.pem"   # who issues the certificates of our peers

# [dicomweb]                        # where systems send images by STOW-RS instead; off without
# host = "127.0.0.1"                # elsewhere only with plain = false and [dicomweb.tls]
# port = 8081
# [[dicomweb.senders]]              # `radloop token new --aet WEB1` prints these lines
# ae_title = "WEB1"                 # its objects come under it; issuers as of [[dicom.peers]]
# token_sha256 = "0000000000000000000000000000000000000000000000000000000000000000"

# [dicomweb.tls]                    # a port with TLS; client_certificates = "accepted": or none
# port = 8443
# certificate = "tls/node.pem"
# key = "tls/node.key"
# authorities = "tls/authorities.pem"

[hl7]                               # where the RIS or the interface engine sends reports (MLLP)
host = "127.0.0.1"
port = $hl7_port
default_charset = "ascii"           # used where MSH-18 is empty
default_issuer_of_patient_id = ""   # assumed where PID-3 has no assigning authority
default_issuer_of_accession_number = ""

# [hl7.tls]                         # a second port with TLS and certificates on both sides
# port = 2576                       # [hl7] plain = false closes the one without TLS
# certificate = "tls/node.pem"
# key = "tls/node.key"
# authorities = "tls/authorities.pem"

# [[hl7.feeds]]                     # one sending application and facility (MSH-3|MSH-4)
# sender = "RIS|HOSPITAL"
# issuer_of_patient_id = "HOSPITAL"
# issuer_of_accession_number = "RIS"
# charset = "latin-1"
# networks = ["192.0.2.0/24"]       # that it may send from; certificates = [...] with [hl7.tls]

[linking]                           # when a report and a study belong together
date_window_days = 1                # study date and observation date may differ by so much
# Where one side states its issuer and the other only assumes it (default_issuer_of_...), nothing
# links until you say that the assumed name is as good as the stated one:
# trusted_assumed_issuers = ["HOSPITAL", "RIS"]
# equivalent_issuers = [["HOSPITAL", "1.2.3.4"]]   # names of one and the same issuer

[labeling]
schema_name = "spine"               # spine, neuro, upper_extremity or chest
schema_file = ""                    # a schema of your own; wins over schema_name
observations = []                   # ids of the schema that are read; empty: all of them
labelers = ["rules", "token_scores"]  # also: template, tree, student
automatic = ""                      # a labeler that reads each new report; empty: by command
label_history = false               # true: history, indication and technique label, too
language_packs = []                 # folders of packs beside English

[labeling.language_model]
backend = "transformers"            # in this machine; llama_cpp, or server (with url)
name = "smollm2-135m-instruct"      # an entry of the model store: see `radloop llm --help`
threads = 2
# adapter = "auto"                 # of `radloop llm adapt`: one that fits, "none", or its name
# url = "http://127.0.0.1:8000/v1"  # OpenAI-compatible; its key: RADLOOP_LLM_API_KEY
# concurrent_requests = 0           # to a server; 0: as many as it is known for, else 1 to 64
# What works of the model or server that is set here: `radloop llm check`.

[labeling.token_scores]
two_step = false                    # true: a summary aimed at the condition, then the question
levels = true                       # ask at each site of the schema, too

[training]
classifier = "disc_network"
disc_localiser = "disc_chain"       # finds the discs that are cut out: deploy/discs.md
uncertain_policy = "mask"           # mask, inclusive (as present), exclusive (as absent) or soft

# [training.learning]               # of `radloop train --architecture`: see deploy/training.md
# input_shape = [224, 224]          # without channels; default: the architecture's own
# cache_bytes = 21474836480         # of prepared inputs, on disk

# [[prediction]]                    # which live model runs on which complete study
# model = "lumbar-discs"
# modality = "MR"
# body_part = "LSPINE"
# series_description = "T2"
# series_rule = "lumbar_sagittal_t2" # decides alone, see deploy/images.md
# only_without_final_report = true
# priors = 0                        # earlier studies to fetch for each that arrives

[gate]                              # what a model must show before it goes live: deploy/registry.md
                                    # and, without a setting: figures as they were registered, no
                                    # open impact note, a domain with pixels (deploy/domain.md)
minimum_auroc = 0.6                 # lower bound of its interval, on human labels of the test fold
minimum_positives = 10              # in the test fold, by observation
reference = "sampled"               # readers' labels: sampled, blinded and adjudicated; or "any"
failing = "omit"                    # what fails is not spoken of; "refuse": nothing is promoted
# drift = "ignore"                  # alarms of the monitor; "refuse" unless it is said otherwise
# silent_days = 30                  # of silent mode before
# silent_studies = 200              # that were compared with a report in silent mode

[reporting]                         # the structured report that goes back to the archive
device_name = "radloop"
institution = ""
peer = ""                           # name of a [[pacs]] below; empty: nothing is sent

# [[pacs]]
# name = "research"                 # start with a research archive, not with the clinical one
# ae_title = "PACS"
# host = "127.0.0.1"
# port = 4242
# tls = false                       # true: with certificate, key and authorities of [dicom.tls]
# stow_url = "https://pacs/dicom-web"   # send by STOW-RS; ae_title and port may then be left out
# token_variable = "PACS_TOKEN"     # environment variable with its bearer token, or user and
                                    # password_variable for Basic
# commitment = false                # true: ask it to commit to each report that it took
# retrieve = "move"                 # it is asked for studies, by C-MOVE or C-"get"; empty: never
# issuer_of_patient_id = "HOSPITAL" # whose ids it answers with where it does not say it
# issuer_of_accession_number = "RIS"

[retrieval]                         # how a [[pacs]] with retrieve is asked: deploy/backfill.md
studies_per_hour = 120              # asked for, priors included; 0: no limit
parallel = 1                        # studies at a time
maximum_instances = 10000           # a study with more is left out, and listed
retry_seconds = 300.0               # before what did not come is asked for again; then longer
# hours = "19:00-06:00"             # at which `radloop backfill` asks; default: always
# time_zone = "Europe/Berlin"       # of these hours
# priors_from = "research"          # [[pacs]] that is asked for the priors of [[prediction]]
# reconcile_with = "research"       # [[pacs]] with which cohorts are compared each night
# reconcile_hour = 3                # in time_zone, which is UTC without one

[console]
port = $http_port                         # read-only status page, loopback only

[commitment]                        # for senders that ask whether they may delete
minimum_retention_days = 365.0      # no [[retention]] rule deletes what was committed before
index_wait_seconds = 300.0          # for objects that were sent before the request

# [[retention]]                     # studies that are deleted, day by day; without a rule, none
# name = "two years"
# older_than_days = 730             # since the last image came
# modality = "MR"
# body_part = ""
# study_description = "*"
# delete_cohort_members = false     # true: also what a frozen cohort was made of
# delete_predicted = false          # true: also what a live model has a prediction for

[erasure]
keep_out = false                    # true: what comes again for an erased patient is erased again
""")


def render(
    *,
    ae_title: str = "RADLOOP",
    dicom_port: int = 11112,
    hl7_port: int = 2575,
    http_port: int = 8080,
) -> str:
    """Return the settings file as text, with the given AE title and ports."""
    return _TEMPLATE.substitute(
        ae_title=ae_title, dicom_port=dicom_port, hl7_port=hl7_port, http_port=http_port
    )
