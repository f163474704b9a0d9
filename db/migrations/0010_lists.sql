-- A page of a list begins at its newest row, however many of the other kind are newer.
create index vwn_present_newest on vwn (created_at_ms) where state <> 'gone';
create index job_live_newest on job (submitted_at_ms) where state <> 'ended';
create index job_ended_newest on job (submitted_at_ms) where state = 'ended';
