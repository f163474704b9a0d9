/**
 * The one error catalogue. Expected failures are `VwnError(code, facts, { cause })`; a message speaks for its own layer
 * only, and `explain` walks the chain. Bugs are plain errors. Rows are grouped by area; docs/errors.md is printed from here.
 */

export type Retry = 'never' | 'same' | 'elsewhere'

/** What a caller needs to know of one kind of failure, over HTTP, in a shell and in words. */
export interface Entry {
  readonly http: number
  readonly exit: 1 | 2 | 70 | 75
  readonly retry: Retry
  readonly say: string
  readonly hint: string
}

export const catalogue = {
  // programs and their surroundings
  CANCELLED: { http: 503, exit: 75, retry: 'same', say: 'stopped before it was done', hint: 'the program was told to stop; try again when it is up' },
  DEADLINE_PASSED: { http: 504, exit: 75, retry: 'same', say: 'did not happen in time', hint: 'the last value seen says how far it came' },
  HOME_PATH_TOO_LONG: { http: 400, exit: 2, retry: 'never', say: 'a unix socket below this home would have too long a path', hint: 'choose a shorter --home or WNOD_HOME' },
  PROGRAM_RUNNING: { http: 409, exit: 1, retry: 'never', say: 'this program already runs here', hint: 'stop it first, or give this one another home' },
  PROCESS_STUCK: { http: 504, exit: 75, retry: 'same', say: 'a process did not end although it was killed', hint: 'it is probably waiting for a device: see `cat /proc/PID/stack`' },
  SOCKET_IN_USE: { http: 409, exit: 1, retry: 'never', say: 'another program answers on this socket', hint: 'stop it first, or give this one another home' },
  PORT_IN_USE: { http: 409, exit: 1, retry: 'never', say: 'another program listens on this port', hint: 'choose another port in the settings; 0 takes a free one' },

  // settings
  CONFIG_UNREADABLE: { http: 400, exit: 2, retry: 'never', say: 'the settings file cannot be read', hint: 'check its name and permissions' },
  CONFIG_INVALID: { http: 400, exit: 2, retry: 'never', say: 'the settings are not valid', hint: 'mend the named line; `--check-config` prints what is in force' },
  CONFIG_UNKNOWN_KEY: { http: 400, exit: 2, retry: 'never', say: 'the settings have a key nobody reads', hint: 'mend the spelling or remove it' },

  // files and commands
  DISK_FULL: { http: 507, exit: 75, retry: 'elsewhere', say: 'no space is left on the disk', hint: 'free some space, or move the home to a larger disk' },
  FILE_UNREADABLE: { http: 500, exit: 1, retry: 'never', say: 'a file cannot be read', hint: 'check that it exists and who may read it' },
  FILE_UNWRITABLE: { http: 500, exit: 1, retry: 'never', say: 'a file cannot be written', hint: 'check that its folder exists and who may write there' },
  FILE_MALFORMED: { http: 500, exit: 1, retry: 'never', say: 'a file does not hold what it should', hint: 'it was changed by hand or by another version; move it away to go on' },
  COMMAND_MISSING: { http: 500, exit: 1, retry: 'elsewhere', say: 'a command is not installed', hint: '`wnod doctor` names the package that has it' },
  COMMAND_FAILED: { http: 500, exit: 1, retry: 'elsewhere', say: 'a command failed', hint: 'its last words are in the facts' },
  COMMAND_TIMEOUT: { http: 504, exit: 75, retry: 'elsewhere', say: 'a command did not end in time', hint: 'the machine may be overloaded' },

  // batch systems
  INSTALL_FOREIGN_FILE: { http: 409, exit: 1, retry: 'never', say: 'a file that is not ours is where one of ours would be', hint: 'look at it, and move it away to go on' },
  INSTALL_UNSUITED: { http: 409, exit: 1, retry: 'never', say: 'this machine is not ready for what would be installed', hint: 'the facts say what is missing; nothing was changed' },
  INSTALL_INCOMPLETE: { http: 409, exit: 1, retry: 'never', say: 'not everything is installed', hint: '`wnod install SYSTEM` makes what is missing; `--dry-run` shows it first' },
  INSTALL_FOREIGN_SETTING: { http: 409, exit: 1, retry: 'never', say: 'a setting of the batch system that is not ours is where one of ours would be', hint: '`--replace` sets ours and keeps what was there for `--undo`' },

  // the bus
  BUS_UNREACHABLE: { http: 503, exit: 75, retry: 'same', say: 'the NATS server does not answer', hint: 'check that nats-server runs and that the settings name it' },
  BUS_DENIED: { http: 503, exit: 1, retry: 'never', say: 'the NATS server refused our credentials', hint: 'check the .creds file named in the settings' },
  BUS_NO_ANSWER: { http: 503, exit: 75, retry: 'same', say: 'nobody answered a request in time', hint: 'the program asked is down or cut off; it is asked again' },
  BUS_BAD_REPLY: { http: 502, exit: 70, retry: 'never', say: 'an answer over the bus was not understood', hint: 'two programs of different versions? compare `--version`' },
  BUS_REFUSED: { http: 502, exit: 1, retry: 'never', say: 'the program asked refused', hint: 'its own log has the reason in full' },

  // the controller and its database
  DATABASE_IN_USE: { http: 409, exit: 1, retry: 'never', say: 'another controller owns this database', hint: 'stop the other controller, or name another database' },
  DATABASE_UNUSABLE: { http: 500, exit: 1, retry: 'never', say: 'the database cannot be opened', hint: 'check the file and its folder; `sqlite3 FILE "pragma integrity_check"` tells if it is damaged' },
  DATABASE_NEWER: { http: 500, exit: 1, retry: 'never', say: 'the database was written by a newer controller', hint: 'run the newer version, or restore the backup made before the upgrade' },
  MAPPING_UNREADABLE: { http: 500, exit: 1, retry: 'never', say: 'the mapping file cannot be read', hint: 'check its name and permissions' },
  MAPPING_REFUSED: { http: 400, exit: 1, retry: 'never', say: 'the mapping is not valid', hint: 'mend the named line; until then the last valid mapping stays in force' },
  MAPPING_ABSENT: { http: 503, exit: 75, retry: 'same', say: 'no mapping is in force', hint: 'the mapping file was refused or is missing; see `wnod types` for the reason' },
  IMAGE_NOT_FOUND: { http: 404, exit: 1, retry: 'never', say: 'no such OS image', hint: 'list images with `wnod images`; build one with `wnod image build RECIPE`' },
  HOST_NOT_FOUND: { http: 404, exit: 1, retry: 'never', say: 'no such host', hint: 'list hosts with `wnod hosts`' },
  HOST_AWAY: { http: 503, exit: 75, retry: 'same', say: 'the bait of that host does not answer', hint: 'what runs there runs on; it is down, cut off, of an older version, or has the NATS credentials of one: `wnod hosts` says when it was last heard' },
  VWN_UNSEEN: { http: 404, exit: 1, retry: 'never', say: 'its host has nothing of this VWN to show', hint: 'figures and console begin when the host begins to make it, and go with it; its life and its jobs stay on record: `wnod show VWN`' },
  VWN_NOT_FOUND: { http: 404, exit: 1, retry: 'never', say: 'no such VWN', hint: 'list VWNs with `wnod vwns`' },
  JOB_NOT_FOUND: { http: 404, exit: 1, retry: 'never', say: 'no such job', hint: 'list jobs with `wnod jobs`' },
  RECORD_NOT_FOUND: { http: 404, exit: 1, retry: 'never', say: 'no such accounting record', hint: '`wnod accounting export` says which record it has written last' },
  HISTORY_UNKNOWN: { http: 404, exit: 1, retry: 'never', say: 'nothing is known of the farm at that moment', hint: 'ask for a moment between those of `GET /v1/history/bounds`; `[history]` in the settings says how long is kept' },
  USER_NOT_FOUND: { http: 404, exit: 1, retry: 'never', say: "no such user on the controller's machine", hint: 'name the groups as well: then no user database is asked' },
  ORDER_DENIED: { http: 409, exit: 1, retry: 'never', say: 'the order does not fit the present state', hint: 'look at the thing again: it may have ended meanwhile' },
  REQUEST_INVALID: { http: 400, exit: 2, retry: 'never', say: 'the request is not understood', hint: 'the facts name what is wrong' },
  ROUTE_NOT_FOUND: { http: 404, exit: 2, retry: 'never', say: 'nothing is served under this address', hint: "see docs/api.md; verbs are served on the operator's socket only" },
  TOKEN_REQUIRED: { http: 401, exit: 1, retry: 'never', say: 'the controller answers only those who know its token', hint: 'send it as `Authorization: Bearer TOKEN`; the commands take it from WNOD_TOKEN, or from the file that WNOD_TOKEN_FILE names' },
  HTTP_UNPROTECTED: { http: 400, exit: 2, retry: 'never', say: 'other machines could read the whole farm without a token', hint: 'write a secret into a file and name it as `token_file` in `[http]`, or let `host` be 127.0.0.1' },
  HTTP_TOKEN_UNFIT: { http: 400, exit: 2, retry: 'never', say: 'the file does not hold a token', hint: 'one line of 16 to 256 letters, digits and any of - . _ ~ + / =, as `openssl rand -hex 32` prints it' },
  MONITOR_NOT_BUILT: { http: 503, exit: 70, retry: 'never', say: 'the monitor is not built', hint: 'run `npm run build` where the controller was installed from' },

  // images
  IMAGE_DIGEST_MISMATCH: { http: 500, exit: 1, retry: 'elsewhere', say: 'an OS image is not what its digest says', hint: 'a file was changed or damaged: remove it with `wnod image rm DIGEST` and build it again' },
  IMAGE_BUILD_FAILED: { http: 500, exit: 1, retry: 'never', say: 'the OS image could not be built', hint: 'the facts name the step; nothing of it was kept' },
  IMAGE_IN_USE: { http: 409, exit: 1, retry: 'never', say: 'the OS image is still named', hint: 'say it again with --yes to remove it all the same; running VWNs keep what they have open' },
  RECIPE_INVALID: { http: 400, exit: 2, retry: 'never', say: 'the recipe is not valid', hint: 'compare it with those in images/recipes' },
  RECIPE_NOT_FOUND: { http: 404, exit: 2, retry: 'never', say: 'no such recipe', hint: 'name one of images/recipes, or the path of a .yaml file' },
  MIRROR_UNKNOWN: { http: 400, exit: 1, retry: 'never', say: 'it is not known where to get Debian packages', hint: 'set WNOD_DEBIAN_SOURCES to a sources file that has the suite of the recipe (sources.list(5))' },

  // the bait's VMs
  HYPERVISOR_MISSING: { http: 500, exit: 1, retry: 'elsewhere', say: 'the hypervisor is not installed', hint: '`wnod doctor` names the package that has it' },
  HYPERVISOR_FAILED: { http: 500, exit: 75, retry: 'same', say: 'the hypervisor did not start', hint: 'its last words are in the facts' },
  HYPERVISOR_SILENT: { http: 504, exit: 75, retry: 'same', say: 'the hypervisor does not answer on its control socket', hint: 'the machine may be overloaded' },
  HYPERVISOR_REFUSED: { http: 500, exit: 70, retry: 'never', say: 'the hypervisor refused a command', hint: 'its reason is in the facts' },
  TEMPLATE_NOT_SAVED: { http: 500, exit: 75, retry: 'same', say: 'the state of a template could not be saved', hint: 'nothing of it was kept; VWNs are booted cold until it is made again' },
  TEMPLATE_STATE_DAMAGED: { http: 500, exit: 75, retry: 'same', say: 'the saved state of a template is damaged', hint: 'it was cut short or changed; remove the template, it is made again' },
  TEMPLATE_MEMORY_WRONG: { http: 500, exit: 75, retry: 'same', say: "the memory file of a template does not have its machine's size", hint: 'it was cut short or is of another template; remove the template, it is made again' },
  TEMPLATE_OTHER_MACHINE: { http: 409, exit: 75, retry: 'same', say: 'the template was saved by another machine', hint: 'shape, image, kernel, network or disks differ; a template is made for each machine' },
  TEMPLATE_REFUSED: { http: 500, exit: 75, retry: 'same', say: 'the hypervisor refused the saved state of a template', hint: 'its last words are in the facts; remove the template, it is made again' },
  TEMPLATE_NOT_MADE: { http: 500, exit: 75, retry: 'same', say: 'a template could not be made', hint: 'nothing of it was kept and VWNs are booted cold; the causes, and its console if it had one, say why' },
  TEMPLATE_NO_SPACE: { http: 507, exit: 75, retry: 'elsewhere', say: 'templates may not take so much disk', hint: 'raise `templates.disk_gib` in the settings of the bait, or use fewer shapes; until then VWNs are booted cold' },
  TEMPLATE_NO_MEMORY: { http: 503, exit: 75, retry: 'elsewhere', say: 'the host has no memory free to make a template', hint: 'it is tried again; leave more memory out of `capacity.memory_mib` in the settings of the bait' },
  TEMPLATE_QUARANTINED: { http: 503, exit: 75, retry: 'same', say: 'no template is made for this machine any more', hint: 'its clones failed again and again, the facts say how; VWNs are booted cold until the bait is started again, or the image is another one' },
  ACCELERATOR_UNUSABLE: { http: 503, exit: 1, retry: 'elsewhere', say: 'no guest could be started on this host', hint: '`wnod doctor` says what each accelerator did' },
  SCRATCH_NO_SPACE: { http: 507, exit: 75, retry: 'elsewhere', say: 'no space is left for a scratch disk', hint: 'free some space, or ask for less scratch' },
  VWN_BOOT_TIMEOUT: { http: 504, exit: 75, retry: 'same', say: 'VWN did not report ready in time', hint: 'read its serial log: `wnod console VWN`' },
  VWN_DIED: { http: 500, exit: 75, retry: 'same', say: 'the VM ended by itself', hint: 'read its serial log: `wnod console VWN`' },
  VWN_MISBEHAVED: { http: 502, exit: 75, retry: 'same', say: 'the guest said what it should not', hint: 'the image may be of another version than the bait' },
  VWN_SILENT: { http: 504, exit: 75, retry: 'same', say: 'the guest does not answer any more', hint: 'read its serial log: `wnod console VWN`' },
  VWN_DIRTY: { http: 500, exit: 75, retry: 'same', say: 'a job left something that could not be removed', hint: 'the VWN is thrown away; nobody else runs in it' },
  VWN_NOT_OWNER: { http: 409, exit: 70, retry: 'never', say: 'this VWN is not shared with this job', hint: 'a bug of the controller, which the bait refused to follow: please report it' },
  VWN_REMOVED: { http: 409, exit: 75, retry: 'same', say: 'the VWN was removed', hint: 'an operator or the controller asked for it' },

  // the hand-over of a job
  BAIT_UNREACHABLE: { http: 503, exit: 75, retry: 'same', say: 'the bait of this host does not answer', hint: 'check that `wnod bait` runs here and that WNOD_SOCKET or --socket names its socket' },
  JOB_REQUEST_INVALID: { http: 400, exit: 2, retry: 'never', say: 'the job request is not understood', hint: 'the facts name what is wrong; are starter and bait of one version?' },
  JOB_CALL_UNREADABLE: { http: 400, exit: 75, retry: 'never', say: 'what the batch system has given us is no job of its own', hint: 'compare how it calls the job starter with the page of this batch system in docs' },
  JOB_REQUEST_TOO_LARGE: { http: 413, exit: 2, retry: 'never', say: 'arguments and environment of the job are larger than allowed', hint: 'hand large data over in a file or on stdin' },
  JOB_SCRIPT_TOO_LARGE: { http: 413, exit: 2, retry: 'never', say: 'the script of the job is larger than allowed', hint: 'keep data that the script carries in a file beside it' },
  JOB_SCRIPT_UNREADABLE: { http: 500, exit: 75, retry: 'elsewhere', say: 'the script of the job cannot be read on this host', hint: 'the batch system has removed it, or its spool is not open to the user of the job' },
  JOB_IDENTITY_FALSE: { http: 403, exit: 1, retry: 'never', say: 'the job is not of the user it claims to be of', hint: 'user and groups must be what the user database of the host says' },
  JOB_PLACES_TAKEN: { http: 503, exit: 75, retry: 'same', say: 'the bait serves as many job starters as it may', hint: 'try again when some have ended, or raise the limit in its settings' },
  JOB_START_FAILED: { http: 500, exit: 75, retry: 'elsewhere', say: 'the guest could not start the job', hint: 'the facts name the step that failed' },
  DIRECTORY_NOT_SHARED: { http: 409, exit: 1, retry: 'never', say: 'the directory of the job is not in a file system that its VWN type shares with the hosts', hint: 'start the job below one of the `mounts` of the type; `wnod types --json` lists them' },
  SHARE_UNREACHABLE: { http: 503, exit: 75, retry: 'elsewhere', say: 'the server of a shared file system does not answer', hint: 'the bait connects to it on behalf of the guest: try `nc -z SERVER PORT` on its host' },
  SHARE_NOT_MOUNTED: { http: 503, exit: 75, retry: 'elsewhere', say: 'the guest could not mount a shared file system', hint: 'the server must export it to the host of the bait, with NFS 4.1 or newer' },
  SHARE_UNSUPPORTED: { http: 409, exit: 1, retry: 'never', say: 'the OS image has no agent, and only an agent mounts anything', hint: 'give the type an image with the agent, or no `mounts`' },
  JOB_GUEST_LOST: { http: 500, exit: 75, retry: 'elsewhere', say: 'the VWN was lost with the job in it', hint: 'the job may have run in part; see `wnod explain JOB` and the serial log of the VWN' },
  JOB_BAIT_RESTARTED: { http: 500, exit: 75, retry: 'elsewhere', say: 'the bait was restarted under the job', hint: 'a job that had not started never ran; one that had is lost' },
  JOB_NOT_YOURS: { http: 403, exit: 1, retry: 'never', say: 'the job is of another user', hint: 'root may ask this of every job, others only of their own' },
  PENDING_NOT_YOURS: { http: 403, exit: 1, retry: 'never', say: 'this user may not say how many jobs are pending', hint: 'root may, and the users that `reporters` names in the settings of the bait' },
  JOB_NOT_ENDED: { http: 504, exit: 75, retry: 'same', say: 'the job was told to end and is still there', hint: 'its VWN does not answer: see `wnod show JOB` and `wnod console VWN`' },
  BARE_IMPOSSIBLE: { http: 503, exit: 75, retry: 'elsewhere', say: 'the job was to run on the host itself, and the job starter cannot become it', hint: 'it needs `wnod-exec.node` beside `starter.cjs`: install gcc and libc6-dev on this host and say `npm run build`' },
  STAGE_FAILED: { http: 500, exit: 75, retry: 'elsewhere', say: 'the files of the working directory could not be handed over', hint: 'the facts name the file or the step' },
  STAGE_UNREADABLE: { http: 400, exit: 1, retry: 'never', say: 'a file of the working directory cannot be staged', hint: 'make it readable, or leave it out with --exclude' },
  STAGE_ESCAPE: { http: 400, exit: 1, retry: 'never', say: 'a staged file would be written outside the working directory', hint: 'absolute paths, `..` and paths through symbolic links are not followed' },

  // the way into a guest
  GUEST_UNREACHABLE: { http: 503, exit: 75, retry: 'same', say: 'the ssh server of the guest does not answer', hint: 'read the end of its serial log with `wnod console VWN`' },
  GUEST_KEY_WRONG: { http: 502, exit: 1, retry: 'never', say: 'the guest shows another host key than it was given', hint: 'something else answers on its port; the VWN is thrown away' },
  GUEST_AUTH_REFUSED: { http: 502, exit: 75, retry: 'elsewhere', say: 'the guest does not accept the key that it was given', hint: 'its identity did not reach it; read the end of its serial log' },
  GUEST_CHANNEL_REFUSED: { http: 502, exit: 75, retry: 'elsewhere', say: 'the guest does not open a channel', hint: 'the agent or the ssh server in it is gone; read the end of its serial log' },
  GUEST_SILENT: { http: 504, exit: 75, retry: 'elsewhere', say: 'the guest did not answer in time', hint: 'it hangs or is overloaded; the VWN is thrown away' },
  GUEST_GARBAGE: { http: 502, exit: 75, retry: 'elsewhere', say: 'the guest says what nobody should say', hint: 'the VWN is thrown away; are bait and image of one version?' },

  // the command line and local farms
  CONTROLLER_AWAY: { http: 503, exit: 75, retry: 'same', say: 'the controller does not answer', hint: '`wnod up` starts a local farm; --home or WNOD_HOME names another one' },
  CONTROLLER_STRANGE: { http: 502, exit: 70, retry: 'never', say: "the controller's answer was not understood", hint: 'two programs of different versions? compare `--version`' },
  FARM_UP: { http: 409, exit: 1, retry: 'never', say: 'this farm is already up', hint: '`wnod down` stops it; --home DIR starts another one beside it' },
  FARM_FOREIGN: { http: 409, exit: 1, retry: 'never', say: 'this home was not made by `wnod up`', hint: 'choose another --home: `wnod up` and `wnod down` leave what others made alone' },
  FARM_NOT_READY: { http: 504, exit: 75, retry: 'same', say: 'the farm did not come up in time', hint: 'the named log says why' },
  ONLY_ROOT: { http: 403, exit: 1, retry: 'never', say: 'only root may do this', hint: 'run it as root, or leave the option away' },
  OPTION_INVALID: { http: 400, exit: 2, retry: 'never', say: 'an option cannot be used like this', hint: '`wnod COMMAND --help` shows what there is' },
  CONSENT_NEEDED: { http: 409, exit: 1, retry: 'never', say: 'nothing was done: this needs your consent', hint: 'say it again with --yes' },

  // who gets which VWN, and what becomes of jobs
  MAPPING_NO_RULE: { http: 403, exit: 1, retry: 'never', say: 'no rule of the mapping speaks of this job', hint: '`wnod explain --user NAME` shows every rule and why it does not match' },
  TYPE_UNKNOWN: { http: 404, exit: 1, retry: 'never', say: 'no such VWN type', hint: 'list VWN types with `wnod types`' },
  TYPE_NOT_ALLOWED: { http: 403, exit: 1, retry: 'never', say: 'this VWN type is not open to you', hint: 'ask for one of the types named, or for none' },
  LIMIT_IS_ZERO: { http: 403, exit: 1, retry: 'never', say: 'the mapping allows no VWN at all for this', hint: 'its limit is 0: ask the administrator' },
  HOST_CLOSED: { http: 409, exit: 75, retry: 'elsewhere', say: 'the host takes no jobs', hint: 'an operator has closed it; `wnod hosts` shows it' },
  FALLBACK_REFUSED: { http: 409, exit: 1, retry: 'never', say: 'no VWN can run on the host of the job, and its rule refuses it then', hint: 'mend the host (`wnod doctor`), or write `fallback: requeue` or `fallback: bare` into the rule' },
  HOST_TOO_SMALL: { http: 409, exit: 75, retry: 'elsewhere', say: 'the job asks for more than the host has', hint: 'ask for less, or run it on a larger host' },
  IMAGE_NOT_ON_HOST: { http: 409, exit: 75, retry: 'elsewhere', say: 'the host does not have the OS image', hint: '`wnod images` lists who has it' },
  VWN_VANISHED: { http: 500, exit: 75, retry: 'same', say: 'the host does not know the VWN any more', hint: 'its files were lost or removed by hand; a new VWN is made' },
  VWN_HOST_LOST: { http: 504, exit: 75, retry: 'elsewhere', say: 'the host was silent for too long', hint: 'check the host, its bait and the way to the NATS server' },
  JOB_ATTEMPTS_SPENT: { http: 503, exit: 75, retry: 'elsewhere', say: 'several VWNs for this job did not come up', hint: '`wnod explain JOB` names them; read their serial logs' },
  JOB_WAITED_TOO_LONG: { http: 504, exit: 75, retry: 'elsewhere', say: 'the job got no VWN in time', hint: '`wnod explain JOB` says what it waited for' },
  JOB_STAGE_TIMEOUT: { http: 504, exit: 75, retry: 'same', say: 'the working directory did not reach the guest in time', hint: 'stage less, or allow more time' },
  JOB_START_TIMEOUT: { http: 504, exit: 75, retry: 'never', say: 'nobody knows whether the job started', hint: 'the guest did not answer in time and the job was stopped' },
  JOB_VANISHED: { http: 500, exit: 75, retry: 'elsewhere', say: 'the bait does not know the job any more', hint: 'its record was lost on the host; nobody knows whether it ran' },
  JOB_ID_TAKEN: { http: 409, exit: 75, retry: 'same', say: 'an earlier job of this name is on record', hint: "the bait's counter was set back, probably with its folder; the next job gets the next number" },
} as const satisfies Record<string, Entry>

/** A row of the catalogue. Code branches on this, never on text. */
export type ErrorCode = keyof typeof catalogue

/** What happened to what: small printable values, never secrets, environments or job arguments. */
export type Facts = Readonly<Record<string, string | number | boolean | null | undefined>>

/** An expected failure: a row of the catalogue, the facts of this case, and the failure below it. */
export class VwnError extends Error {
  readonly code: ErrorCode
  readonly facts: Facts

  constructor(code: ErrorCode, facts: Facts = {}, options?: { cause?: unknown }) {
    super(sentence(code, facts), options)
    this.name = 'VwnError'
    this.code = code
    this.facts = facts
  }

  get entry(): Entry {
    return catalogue[this.code]
  }
}

function sentence(code: ErrorCode, facts: Facts): string {
  const parts = Object.entries(facts).flatMap(([name, value]) => (value === undefined ? [] : `${name}=${printed(value)}`))
  return parts.length === 0 ? catalogue[code].say : `${catalogue[code].say} (${parts.join(' ')})`
}

const printed = (value: string | number | boolean | null): string =>
  typeof value === 'string' && /^$|[\s"()]/.test(value) ? JSON.stringify(value) : String(value)

/** True for an expected failure; with a code, for that one only. */
export function isVwnError(error: unknown, code?: ErrorCode): error is VwnError {
  return error instanceof VwnError && (code === undefined || error.code === code)
}

/** True for the code of a request that would be refused again, however often it comes: what is asked for does not exist, or is not allowed. */
export function isHopeless(code: string): boolean {
  const entry: Entry | undefined = Object.hasOwn(catalogue, code) ? catalogue[code as ErrorCode] : undefined
  return entry !== undefined && entry.retry === 'never' && entry.http < 500
}

/** The topmost expected failure of a chain, or null for a bug. */
export function vwnErrorIn(error: unknown): VwnError | null {
  return layers(error).find((layer) => layer instanceof VwnError) ?? null
}

/** The whole chain in one line, each layer once, outermost first. */
export function explain(error: unknown): string {
  const said: string[] = []
  for (const layer of layers(error)) {
    const words = layer instanceof Error ? ownWords(layer) : String(layer)
    if (words !== '' && !said.some((earlier) => earlier.includes(words))) said.push(words)
  }
  return said.join(': ')
}

const ownWords = (error: Error): string =>
  error instanceof AggregateError && error.errors.length > 0 ? error.errors.map(explain).join('; ') : error.message || error.name

/**
 * Outermost first; a loop in the chain ends it. A failure that was hidden by a failing clean-up (`await using`) comes
 * before that clean-up's own: it is what the caller asked about.
 */
function layers(error: unknown): unknown[] {
  const found: unknown[] = []
  const visit = (layer: unknown): void => {
    if (layer === undefined || layer === null || found.includes(layer)) return
    if (layer instanceof Error && 'suppressed' in layer && 'error' in layer) {
      visit(layer.suppressed)
      visit(layer.error)
      return
    }
    found.push(layer)
    if (layer instanceof Error) visit(layer.cause)
  }
  visit(error)
  return found
}
