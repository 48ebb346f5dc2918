import { isOneOfSeveral, superviseProcesses } from "../server/start/processes.ts";

/** A supervisor of two processes that exit with 3 before they listen. */
if (isOneOfSeveral()) process.exit(3);
await superviseProcesses(2, async () => {});
