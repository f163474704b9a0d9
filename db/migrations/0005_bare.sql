-- Decided: the job runs on its host itself, in no VWN.
alter table job add column bare integer not null default 0 check (bare in (0, 1));
