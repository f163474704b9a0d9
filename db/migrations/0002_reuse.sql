-- Two more reuse policies. A check cannot be changed in place, and to make the table anew would drop the events with it.
alter table vwn add column policy text not null default 'same-user' check (policy in ('never', 'same-user', 'same-group', 'same-project'));
update vwn set policy = reuse;
alter table vwn drop column reuse;
alter table vwn rename column policy to reuse;

-- Primary group of the owner. The VWNs that there are ask for none; 4294967295 is the number that no group has.
alter table vwn add column owner_gid integer;
update vwn set owner_gid = 4294967295 where owner_uid is not null;

-- What the VWN was when the job was let in (wire/bait.ts), as JSON; null for a job that reached none.
alter table job add column scrub_receipt text;
