import * as errors from "oidc-provider/lib/helpers/errors.js";
import * as interactionPolicy from "oidc-provider/lib/helpers/interaction_policy/index.js";
import { Provider } from "oidc-provider/lib/provider.js";

/**
 * oidc-provider without its main module, which prints a warning on every Node
 * version that is not called LTS yet, and does nothing else.
 */
export { errors, interactionPolicy, Provider };
