-- The accounting record of a job: its number, given once nothing more can be said of the job, and what its VWN was then.
alter table job add column record integer;
alter table job add column image text;
alter table job add column vwn_cpus integer;
alter table job add column vwn_memory_mib integer;
alter table job add column vwn_scratch_gib integer;
create unique index job_record on job (record) where record is not null;
create index job_unrecorded on job (ended_at_ms) where state = 'ended' and record is null;
-- History is walked from its old end.
create index job_ended on job (ended_at_ms, id, record) where ended_at_ms is not null;
create index vwn_ended on vwn (ended_at_ms, id) where ended_at_ms is not null;
