import { withProviders } from "./stage.ts";
import "./cases/failures.ts";
import "./cases/limits.ts";
import "./cases/quota.ts";
import "./cases/refusals.ts";
import "./cases/thinking.ts";
import "./cases/tiers.ts";
import "./cases/transport.ts";
import "./cases/usage.ts";

/** Providers as they answer: what the client sees of each way, and what the ledger bills. One server for all cases. */
withProviders();
