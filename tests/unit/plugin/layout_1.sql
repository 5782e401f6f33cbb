-- The layout of version 0.1.0, as it was written.
CREATE TABLE schema_version (
  number INTEGER NOT NULL,
  applied_at VARCHAR(32) NOT NULL,
  PRIMARY KEY (number)
);
CREATE TABLE study (
  study_instance_uid VARCHAR NOT NULL,
  patient_id VARCHAR NOT NULL,
  issuer_of_patient_id VARCHAR NOT NULL,
  issuer_assumed BOOLEAN NOT NULL,
  patient_name VARCHAR NOT NULL,
  patient_birth_date VARCHAR NOT NULL,
  patient_sex VARCHAR NOT NULL,
  accession_number VARCHAR NOT NULL,
  issuer_of_accession_number VARCHAR NOT NULL,
  accession_issuer_assumed BOOLEAN NOT NULL,
  study_date VARCHAR NOT NULL,
  study_time VARCHAR NOT NULL,
  study_description VARCHAR NOT NULL,
  calling_ae_title VARCHAR NOT NULL,
  first_received_at VARCHAR(32) NOT NULL,
  last_received_at VARCHAR(32) NOT NULL,
  PRIMARY KEY (study_instance_uid)
);
CREATE INDEX ix_study_patient_id ON study (patient_id);
CREATE INDEX ix_study_accession_number ON study (accession_number);
CREATE INDEX ix_study_last_received_at ON study (last_received_at);
CREATE TABLE quarantined (
  id INTEGER NOT NULL,
  kind VARCHAR NOT NULL,
  digest VARCHAR NOT NULL,
  reason VARCHAR NOT NULL,
  sender VARCHAR NOT NULL,
  sop_instance_uid VARCHAR NOT NULL,
  study_instance_uid VARCHAR NOT NULL,
  message_id INTEGER,
  received_at VARCHAR(32) NOT NULL,
  PRIMARY KEY (id),
  UNIQUE (kind, digest)
);
CREATE INDEX ix_quarantined_study_instance_uid ON quarantined (study_instance_uid);
CREATE TABLE message (
  id INTEGER NOT NULL,
  sender VARCHAR NOT NULL,
  message_control_id VARCHAR NOT NULL,
  digest VARCHAR NOT NULL,
  content BLOB NOT NULL,
  message_type VARCHAR NOT NULL,
  disposition VARCHAR NOT NULL,
  reason VARCHAR NOT NULL,
  acknowledgement BLOB NOT NULL,
  received_at VARCHAR(32) NOT NULL,
  PRIMARY KEY (id),
  UNIQUE (sender, message_control_id, digest)
);
CREATE TABLE patient (
  id INTEGER NOT NULL,
  issuer_of_patient_id VARCHAR NOT NULL,
  patient_id VARCHAR NOT NULL,
  first_seen_at VARCHAR(32) NOT NULL,
  PRIMARY KEY (id),
  UNIQUE (issuer_of_patient_id, patient_id)
);
CREATE TABLE transmission (
  id INTEGER NOT NULL,
  sop_instance_uid VARCHAR NOT NULL,
  sop_class_uid VARCHAR NOT NULL,
  study_instance_uid VARCHAR NOT NULL,
  peer VARCHAR NOT NULL,
  path VARCHAR NOT NULL,
  state VARCHAR NOT NULL,
  attempts INTEGER NOT NULL,
  rounds INTEGER NOT NULL,
  last_status INTEGER,
  last_error VARCHAR NOT NULL,
  created_at VARCHAR(32) NOT NULL,
  delivered_at VARCHAR(32),
  PRIMARY KEY (id),
  UNIQUE (sop_instance_uid, peer)
);
CREATE INDEX ix_transmission_state ON transmission (state);
CREATE INDEX ix_transmission_study_instance_uid ON transmission (study_instance_uid);
CREATE TABLE labeling_run (
  id INTEGER NOT NULL,
  labeler VARCHAR NOT NULL,
  schema_name VARCHAR NOT NULL,
  schema_digest VARCHAR NOT NULL,
  model_digest VARCHAR NOT NULL,
  prompt_digest VARCHAR NOT NULL,
  started_at VARCHAR(32) NOT NULL,
  PRIMARY KEY (id),
  UNIQUE (labeler, schema_digest, model_digest, prompt_digest)
);
CREATE TABLE reference_label (
  id INTEGER NOT NULL,
  level VARCHAR NOT NULL,
  subject VARCHAR NOT NULL,
  observation VARCHAR NOT NULL,
  site VARCHAR NOT NULL,
  reader VARCHAR NOT NULL,
  state VARCHAR NOT NULL,
  source_digest VARCHAR NOT NULL,
  imported_at VARCHAR(32) NOT NULL,
  PRIMARY KEY (id),
  UNIQUE (level, subject, observation, site, reader)
);
CREATE INDEX ix_reference_label_subject ON reference_label (subject);
CREATE TABLE series (
  series_instance_uid VARCHAR NOT NULL,
  study_instance_uid VARCHAR NOT NULL,
  modality VARCHAR NOT NULL,
  series_number VARCHAR NOT NULL,
  series_description VARCHAR NOT NULL,
  body_part_examined VARCHAR NOT NULL,
  manufacturer VARCHAR NOT NULL,
  manufacturer_model_name VARCHAR NOT NULL,
  PRIMARY KEY (series_instance_uid),
  FOREIGN KEY(study_instance_uid) REFERENCES study (study_instance_uid)
);
CREATE INDEX ix_series_study_instance_uid ON series (study_instance_uid);
CREATE TABLE patient_alias (
  id INTEGER NOT NULL,
  prior_issuer VARCHAR NOT NULL,
  prior_patient_id VARCHAR NOT NULL,
  surviving_issuer VARCHAR NOT NULL,
  surviving_patient_id VARCHAR NOT NULL,
  prior_issuer_assumed BOOLEAN NOT NULL,
  surviving_issuer_assumed BOOLEAN NOT NULL,
  message_id INTEGER,
  recorded_at VARCHAR(32) NOT NULL,
  PRIMARY KEY (id),
  FOREIGN KEY(message_id) REFERENCES message (id)
);
CREATE INDEX ix_patient_alias_prior_patient_id ON patient_alias (prior_patient_id);
CREATE INDEX ix_patient_alias_surviving_patient_id ON patient_alias (surviving_patient_id);
CREATE TABLE report (
  id INTEGER NOT NULL,
  report_identity VARCHAR NOT NULL,
  version INTEGER NOT NULL,
  is_current BOOLEAN NOT NULL,
  supersedes_id INTEGER,
  message_id INTEGER,
  text TEXT NOT NULL,
  result_status VARCHAR NOT NULL,
  accession_number VARCHAR NOT NULL,
  issuer_of_accession_number VARCHAR NOT NULL,
  accession_issuer_assumed BOOLEAN NOT NULL,
  placer_order_number VARCHAR NOT NULL,
  filler_order_number VARCHAR NOT NULL,
  study_instance_uids JSON NOT NULL,
  patient_id VARCHAR NOT NULL,
  issuer_of_patient_id VARCHAR NOT NULL,
  issuer_assumed BOOLEAN NOT NULL,
  patient_identifiers JSON NOT NULL,
  patient_name VARCHAR NOT NULL,
  patient_birth_date VARCHAR NOT NULL,
  patient_sex VARCHAR NOT NULL,
  modality VARCHAR NOT NULL,
  procedure VARCHAR NOT NULL,
  observation_date VARCHAR NOT NULL,
  status_changed_at VARCHAR NOT NULL,
  message_time VARCHAR NOT NULL,
  received_at VARCHAR(32) NOT NULL,
  PRIMARY KEY (id),
  UNIQUE (report_identity, version),
  FOREIGN KEY(supersedes_id) REFERENCES report (id),
  FOREIGN KEY(message_id) REFERENCES message (id)
);
CREATE INDEX ix_report_report_identity ON report (report_identity);
CREATE INDEX ix_report_is_current ON report (is_current);
CREATE INDEX ix_report_patient_id ON report (patient_id);
CREATE INDEX ix_report_accession_number ON report (accession_number);
CREATE TABLE cohort (
  id INTEGER NOT NULL,
  digest VARCHAR NOT NULL,
  name VARCHAR NOT NULL,
  schema_name VARCHAR NOT NULL,
  schema_digest VARCHAR NOT NULL,
  labeling_run_id INTEGER NOT NULL,
  "query" JSON NOT NULL,
  frozen_at VARCHAR(32) NOT NULL,
  PRIMARY KEY (id),
  UNIQUE (digest),
  FOREIGN KEY(labeling_run_id) REFERENCES labeling_run (id)
);
CREATE INDEX ix_cohort_name ON cohort (name);
CREATE TABLE instance (
  sop_instance_uid VARCHAR NOT NULL,
  digest VARCHAR NOT NULL,
  series_instance_uid VARCHAR NOT NULL,
  sop_class_uid VARCHAR NOT NULL,
  transfer_syntax_uid VARCHAR NOT NULL,
  instance_number VARCHAR NOT NULL,
  size INTEGER NOT NULL,
  calling_ae_title VARCHAR NOT NULL,
  called_ae_title VARCHAR NOT NULL,
  received_at VARCHAR(32) NOT NULL,
  PRIMARY KEY (sop_instance_uid),
  UNIQUE (digest),
  FOREIGN KEY(series_instance_uid) REFERENCES series (series_instance_uid)
);
CREATE INDEX ix_instance_series_instance_uid ON instance (series_instance_uid);
CREATE TABLE reported_study (
  report_id INTEGER NOT NULL,
  study_instance_uid VARCHAR NOT NULL,
  PRIMARY KEY (report_id, study_instance_uid),
  FOREIGN KEY(report_id) REFERENCES report (id)
);
CREATE INDEX ix_reported_study_study_instance_uid ON reported_study (study_instance_uid);
CREATE TABLE link (
  id INTEGER NOT NULL,
  report_id INTEGER NOT NULL,
  study_instance_uid VARCHAR NOT NULL,
  state VARCHAR NOT NULL,
  rule VARCHAR NOT NULL,
  reason VARCHAR NOT NULL,
  evidence JSON NOT NULL,
  decided_by VARCHAR NOT NULL,
  decided_at VARCHAR(32) NOT NULL,
  PRIMARY KEY (id),
  UNIQUE (report_id, study_instance_uid),
  FOREIGN KEY(report_id) REFERENCES report (id),
  FOREIGN KEY(study_instance_uid) REFERENCES study (study_instance_uid)
);
CREATE INDEX ix_link_study_state ON link (study_instance_uid, state);
CREATE TABLE label (
  id INTEGER NOT NULL,
  run_id INTEGER NOT NULL,
  report_id INTEGER NOT NULL,
  observation VARCHAR NOT NULL,
  site VARCHAR NOT NULL,
  state VARCHAR NOT NULL,
  probability FLOAT,
  margin FLOAT,
  evidence_start INTEGER,
  evidence_end INTEGER,
  detail VARCHAR NOT NULL,
  created_at VARCHAR(32) NOT NULL,
  PRIMARY KEY (id),
  UNIQUE (run_id, report_id, observation, site),
  FOREIGN KEY(run_id) REFERENCES labeling_run (id),
  FOREIGN KEY(report_id) REFERENCES report (id)
);
CREATE INDEX ix_label_report_id ON label (report_id);
CREATE INDEX ix_label_run_id ON label (run_id);
CREATE TABLE cohort_member (
  id INTEGER NOT NULL,
  cohort_id INTEGER NOT NULL,
  study_instance_uid VARCHAR NOT NULL,
  patient_key VARCHAR NOT NULL,
  report_id INTEGER,
  images_digest VARCHAR NOT NULL,
  fold VARCHAR NOT NULL,
  targets JSON NOT NULL,
  exclusion_reason VARCHAR NOT NULL,
  PRIMARY KEY (id),
  UNIQUE (cohort_id, study_instance_uid),
  FOREIGN KEY(cohort_id) REFERENCES cohort (id),
  FOREIGN KEY(study_instance_uid) REFERENCES study (study_instance_uid),
  FOREIGN KEY(report_id) REFERENCES report (id)
);
CREATE INDEX ix_cohort_member_study_instance_uid ON cohort_member (study_instance_uid);
CREATE INDEX ix_cohort_member_cohort_id ON cohort_member (cohort_id);
CREATE TABLE training_run (
  id INTEGER NOT NULL,
  cohort_id INTEGER NOT NULL,
  classifier VARCHAR NOT NULL,
  seed INTEGER NOT NULL,
  code_version VARCHAR NOT NULL,
  curve JSON NOT NULL,
  metrics JSON NOT NULL,
  started_at VARCHAR(32) NOT NULL,
  finished_at VARCHAR(32) NOT NULL,
  PRIMARY KEY (id),
  FOREIGN KEY(cohort_id) REFERENCES cohort (id)
);
CREATE INDEX ix_training_run_cohort_id ON training_run (cohort_id);
CREATE TABLE model (
  id INTEGER NOT NULL,
  weights_digest VARCHAR NOT NULL,
  name VARCHAR NOT NULL,
  version INTEGER NOT NULL,
  training_run_id INTEGER NOT NULL,
  schema_name VARCHAR NOT NULL,
  schema_digest VARCHAR NOT NULL,
  device_uid VARCHAR NOT NULL,
  operating_points JSON NOT NULL,
  registered_at VARCHAR(32) NOT NULL,
  PRIMARY KEY (id),
  UNIQUE (weights_digest),
  FOREIGN KEY(training_run_id) REFERENCES training_run (id)
);
CREATE INDEX ix_model_name ON model (name);
CREATE TABLE model_event (
  id INTEGER NOT NULL,
  model_id INTEGER NOT NULL,
  stage VARCHAR NOT NULL,
  decided_by VARCHAR NOT NULL,
  reason VARCHAR NOT NULL,
  decided_at VARCHAR(32) NOT NULL,
  PRIMARY KEY (id),
  FOREIGN KEY(model_id) REFERENCES model (id)
);
CREATE INDEX ix_model_event_model_id ON model_event (model_id);
CREATE TABLE prediction (
  id INTEGER NOT NULL,
  model_id INTEGER NOT NULL,
  study_instance_uid VARCHAR NOT NULL,
  study_digest VARCHAR NOT NULL,
  observation VARCHAR NOT NULL,
  site VARCHAR NOT NULL,
  probability FLOAT,
  threshold FLOAT,
  reason VARCHAR NOT NULL,
  sop_instance_uid VARCHAR NOT NULL,
  predicted_at VARCHAR(32) NOT NULL,
  PRIMARY KEY (id),
  UNIQUE (model_id, study_instance_uid, study_digest, observation, site),
  FOREIGN KEY(model_id) REFERENCES model (id),
  FOREIGN KEY(study_instance_uid) REFERENCES study (study_instance_uid)
);
CREATE INDEX ix_prediction_sop_instance_uid ON prediction (sop_instance_uid);
CREATE INDEX ix_prediction_study_instance_uid ON prediction (study_instance_uid);
CREATE INDEX ix_prediction_model_id ON prediction (model_id);
