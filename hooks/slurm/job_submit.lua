-- made by `wnod install`: Slurm's side of the job starter where no plugin can be compiled. One line of job_submit.lua, which slurmctld reads, calls it:
--
--   assert(loadfile("…/job_submit.lua")) { starter = PATH, [node = PATH,] [home = DIR,] [default = "mapping"|"none"|TYPE,] [partition = "A,B",] [unreachable = "requeue"|"bare"] }
--
-- The settings are those of the plugin (wnod_spank.c). A batch script that says `--comment=vm=TYPE`, or that `default` holds for, gets one more first line, by
-- which the kernel of its node starts the job starter in its place: stdin, arguments, `$0` and signals are the script's own. What srun and salloc run has no
-- script: where it would be ours it is refused, and never runs on the bare node. The function of the site, if there is one, is asked first.
local settings = ...
local first_line = "#!" .. settings.starter .. " --slurm-batch\n"
local submit_of_site, modify_of_site = slurm_job_submit, slurm_job_modify

-- As core/ids.ts says of VWN types.
local function is_type(name)
	return #name <= 64 and name:find("^[A-Za-z0-9][A-Za-z0-9._-]*$") ~= nil
end

-- The type that a word `vm=TYPE` of the comment asks for.
local function asked_for(comment)
	for word in (comment or ""):gmatch("[^%s,;]+") do
		local type = word:match("^vm=(.*)$")
		if type then return type end
	end
end

local function default_partition(part_list)
	for name, partition in pairs(part_list) do
		if partition.flag_default ~= 0 then return name end
	end
	return ""
end

-- Whether `default` holds for any of the partitions that the job may run in.
local function is_rolled_out(job_desc, part_list)
	if not settings.partition then return true end
	local wanted = job_desc.partition or default_partition(part_list)
	for name in wanted:gmatch("[^,]+") do
		if ("," .. settings.partition .. ","):find("," .. name .. ",", 1, true) then return true end
	end
	return false
end

-- The type of a job that asks for none, "" for what the mapping says, nil for the bare node.
local function default_type(job_desc, part_list)
	if settings.default == "none" or not is_rolled_out(job_desc, part_list) then return nil end
	return settings.default == "mapping" and "" or settings.default
end

local function refuse(why)
	slurm.log_user("%s", "wnod: " .. why)
	return slurm.ERROR
end

-- What the starter is told; an empty word takes away what the user's environment says in its place.
local function told(type)
	return {
		WNOD_TYPE = type, WNOD_NODE = settings.node or "", WNOD_HOME = settings.home or "", WNOD_UNREACHABLE = settings.unreachable or "",
		WNOD_SOCKET = "", WNOD_BATCH_SYSTEM = "", WNOD_BATCH_JOB_ID = "", WNOD_QUEUE = "", WNOD_REFUSED_CODE = "", WNOD_LOST_CODE = "",
	}
end

function slurm_job_submit(job_desc, part_list, submit_uid)
	local answer = submit_of_site and submit_of_site(job_desc, part_list, submit_uid) or slurm.SUCCESS
	local asked = asked_for(job_desc.comment)
	local type = asked or default_type(job_desc, part_list)
	if answer ~= slurm.SUCCESS or not type then return answer end
	if asked and not is_type(asked) then
		return refuse("vm= in the comment wants the name of a VWN type (`wnod types` lists them): letters, digits, dot, dash and underscore")
	end
	local script = job_desc.script
	if not script then
		return refuse("without its plugin only batch scripts run in virtual worker nodes: use sbatch, not srun or salloc")
	end
	for name, value in pairs(told(type)) do job_desc.environment[name] = value end
	if script:sub(1, #first_line) ~= first_line then job_desc.script = first_line .. script end
	return slurm.SUCCESS
end

function slurm_job_modify(...)
	return modify_of_site and modify_of_site(...) or slurm.SUCCESS
end
