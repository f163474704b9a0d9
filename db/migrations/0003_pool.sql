-- Made for nobody, to be ready for whoever comes.
alter table vwn add column pooled integer not null default 0 check (pooled in (0, 1));
-- The newest of a type on a host tell how long making one takes, and whether it works at present.
create index vwn_type on vwn (host, type, created_at_ms);

-- How a job came by its VWN, as decided; null until it has one.
alter table job add column made text check (made in ('new', 'ready', 'reused'));
