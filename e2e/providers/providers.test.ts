import { withProviders } from "./server.ts";
import "./cases/failures.ts";
import "./cases/limits.ts";
import "./cases/quota.ts";
import "./cases/refusals.ts";
import "./cases/thinking.ts";
import "./cases/tiers.ts";
import "./cases/transport.ts";
import "./cases/usage.ts";

/** What the client receives and what the ledger bills for each behaviour of a provider. All cases share one server. */
withProviders();
