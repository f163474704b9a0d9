-- What every log line about the job carries, in every program; null where its starter said none.
alter table job add column trace text;
