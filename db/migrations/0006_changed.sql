-- One number for the whole farm, which rises whenever what people see of it changes; `changed` of a host, a VWN and a job is the number of its last change.
-- Triggers do it, so that no statement can forget to. A new database begins with the time, so that no number of an older one is a number of this one.
insert into meta (name, value) values
  ('generation', cast((julianday('now') - 2440587.5) * 86400000 as integer)),
  ('forgotten', cast((julianday('now') - 2440587.5) * 86400000 as integer)), -- what has changed since an earlier number than this is not all known any more
  ('forgotten_ms', coalesce((select cast(min(ended_at_ms) as integer) + 1 from (select ended_at_ms from vwn union all select ended_at_ms from job)), 0)); -- nor who was there before this moment
alter table host add column changed integer not null default 0;
alter table vwn add column changed integer not null default 0;
alter table job add column changed integer not null default 0;
create index host_changed on host (changed);
create index vwn_changed on vwn (changed);
create index job_changed on job (changed);

-- Hosts: a heartbeat alone is no change, and what its VWNs hold changes with them.
create trigger host_new after insert on host begin
  update meta set value = value + 1 where name = 'generation';
  update host set changed = (select value from meta where name = 'generation') where id = new.id;
end;
create trigger host_changes after update of want, fact, facts on host
when (old.want, old.fact, old.facts ->> 'capacity', old.facts ->> 'broken') is not (new.want, new.fact, new.facts ->> 'capacity', new.facts ->> 'broken') begin
  update meta set value = value + 1 where name = 'generation';
  update host set changed = (select value from meta where name = 'generation') where id = new.id;
end;

create trigger vwn_new after insert on vwn begin
  update meta set value = value + 1 where name = 'generation';
  update vwn set changed = (select value from meta where name = 'generation') where id = new.id;
  update host set changed = (select value from meta where name = 'generation') where id = new.host;
end;
create trigger vwn_changes after update of state, state_since_ms, job, owner_user, cause, paused on vwn
when (old.state, old.state_since_ms, old.job, old.owner_user, old.cause, old.paused) is not (new.state, new.state_since_ms, new.job, new.owner_user, new.cause, new.paused) begin
  update meta set value = value + 1 where name = 'generation';
  update vwn set changed = (select value from meta where name = 'generation') where id = new.id;
  update host set changed = (select value from meta where name = 'generation')
    where id = new.host and (old.job is null, old.state = 'gone') is not (new.job is null, new.state = 'gone');
end;
create trigger vwn_forgotten after delete on vwn begin
  update meta set value = max(value, old.changed) where name = 'forgotten';
  update meta set value = max(value, cast(coalesce(old.ended_at_ms, 0) as integer) + 1) where name = 'forgotten_ms';
end;

create trigger job_new after insert on job begin
  update meta set value = value + 1 where name = 'generation';
  update job set changed = (select value from meta where name = 'generation') where id = new.id;
end;
create trigger job_changes after update of state, type, vwn, made, why, outcome, ended_at_ms, name, user, queue, batch_system, batch_job_id, submitted_at_ms on job
when (old.state, old.type, old.vwn, old.made, old.why, old.outcome, old.ended_at_ms) is not (new.state, new.type, new.vwn, new.made, new.why, new.outcome, new.ended_at_ms)
  or (old.name, old.user, old.queue, old.batch_system, old.batch_job_id, old.submitted_at_ms) is not (new.name, new.user, new.queue, new.batch_system, new.batch_job_id, new.submitted_at_ms) begin
  update meta set value = value + 1 where name = 'generation';
  update job set changed = (select value from meta where name = 'generation') where id = new.id;
end;
create trigger job_forgotten after delete on job begin
  update meta set value = max(value, old.changed) where name = 'forgotten';
  update meta set value = max(value, cast(coalesce(old.ended_at_ms, 0) as integer) + 1) where name = 'forgotten_ms';
end;

-- Events are also looked for by host, by job and by time.
alter table vwn_event add column host text not null default '';
update vwn_event set host = (select host from vwn where vwn.id = vwn_event.vwn);
create index vwn_event_host on vwn_event (host);
create index vwn_event_job on vwn_event (job) where job is not null;
create index vwn_event_at on vwn_event (at_ms);
-- Whoever was there at a moment began no longer before it than the longest that any lived.
create index vwn_life on vwn (ended_at_ms - created_at_ms);
create index job_life on job (ended_at_ms - submitted_at_ms);
