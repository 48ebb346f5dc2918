import * as errors from "oidc-provider/lib/helpers/errors.js";
import * as interactionPolicy from "oidc-provider/lib/helpers/interaction_policy/index.js";
import { Provider } from "oidc-provider/lib/provider.js";

/**
 * oidc-provider without its main module, which only adds a warning on Node versions
 * that are not LTS.
 */
export { errors, interactionPolicy, Provider };
