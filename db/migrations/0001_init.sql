-- Counters that only rise: `term` (starts of a controller), `vwn` (ids given out).
create table meta (
  name  text primary key,
  value integer not null
) strict, without rowid;

-- One row per host whose bait ever reported. `want` is the operator's word, `fact` what reports and time prove.
create table host (
  id              text primary key,
  want            text not null check (want in ('open', 'draining', 'closed')),
  fact            text not null check (fact in ('alive', 'silent', 'fenced')),
  boot_id         text,
  session         text not null,
  started_at_ms   real not null,
  seq             integer not null,
  heard_at_ms     real,
  seen_term       integer not null,
  seen_generation integer not null,
  -- Number of the newest orders for this host; rises for ever, over restarts too.
  generation      integer not null,
  -- The report's own words on the host: capacity, images, accelerators, version.
  facts           text not null
) strict, without rowid;

-- The last mapping file that was valid: it stays in force when a later one is not.
create table mapping (
  id           integer primary key check (id = 1),
  text         text not null,
  loaded_at_ms real not null
) strict;

-- A virtual worker node: first what core/vwn.ts decides on, then (from `observed`) what its bait said last about the VM.
create table vwn (
  id             text primary key,
  host           text not null references host (id),
  type           text not null,
  image          text not null,
  contact        text not null check (contact in ('agent', 'ssh')),
  network        text not null check (network in ('isolated', 'outbound')),
  cpus           integer not null,
  memory_mib     integer not null,
  scratch_gib    integer not null,
  boot_ms        integer not null,
  reuse          text not null check (reuse in ('never', 'same-user')),
  jobs_run_max   integer not null,
  age_ms_max     integer not null,
  idle_ms_max    integer not null,
  owner_user     text,
  owner_uid      integer,
  owner_group    text,
  owner_project  text,
  state          text not null check (state in ('requested', 'preparing', 'booting', 'idle', 'busy', 'cleaning', 'stopping', 'fencing', 'gone')),
  insist         integer not null check (insist in (0, 1)),
  term           integer not null,
  epoch          integer not null,
  generation     integer not null,
  job            text,
  jobs_run       integer not null,
  created_at_ms  real not null,
  state_since_ms real not null,
  deadline_ms    real,
  cause          text,
  ended_at_ms    real,
  observed       text,
  boot_attempt   integer not null default 0,
  phases         text not null default '{}',
  accelerator    text,
  pid            integer
) strict, without rowid;
create index vwn_present on vwn (host) where state <> 'gone';
create index vwn_newest on vwn (created_at_ms);
create index vwn_job on vwn (job);

-- Every transition of every VWN.
create table vwn_event (
  id         integer primary key,
  vwn        text not null references vwn (id) on delete cascade,
  at_ms      real not null,
  event      text not null,
  from_state text not null,
  to_state   text not null,
  job        text,
  why        text
) strict;
create index vwn_event_vwn on vwn_event (vwn);

-- Every job that a bait accepted. An ended one is history and never changes again.
create table job (
  id              text primary key,
  host            text not null references host (id),
  name            text not null,
  state           text not null check (state in ('waiting', 'staging', 'starting', 'running', 'suspended', 'stopping', 'collecting', 'ended')),
  user            text not null,
  uid             integer not null,
  gid             integer not null,
  group_name      text not null,
  groups          text not null,
  requested_type  text,
  queue           text,
  project         text,
  batch_system    text,
  batch_job_id    text,
  want_cpus       integer,
  want_memory_mib integer,
  want_scratch_gib integer,
  -- What the controller decided.
  type            text,
  rule            text,
  why             text,
  refusal         text,
  placement_ms    real,
  -- What the bait reported.
  vwn             text,
  submitted_at_ms real not null,
  phases          text not null,
  outcome         text,
  ended_at_ms     real,
  reused          integer check (reused in (0, 1)),
  usage           text,
  check ((state = 'ended') = (outcome is not null and ended_at_ms is not null))
) strict, without rowid;
create index job_live on job (host) where state <> 'ended';
create index job_newest on job (submitted_at_ms);
create index job_user on job (user, submitted_at_ms);
create index job_vwn on job (vwn);

-- The reasons of the last decision about a job: rule, type, and a sentence per host.
create table explanation (
  job   text primary key references job (id) on delete cascade,
  at_ms real not null,
  body  text not null
) strict, without rowid;
