import { type AppError, noSuchModel } from "../platform/errors.ts";
import { allModels, type Model } from "../pricing/models.ts";
import { nearestNames } from "../pricing/names.ts";
import { isConfigured, isSimulated } from "./providers.ts";

/** The models that this server can answer with: those of configured providers, or all when the simulator answers for every provider. */
export function availableModels(): Model[] {
  return [...allModels().values()].filter((model) => isSimulated() || isConfigured(model.provider));
}

/**
 * The error for a name that no model has, with the nearest ids of available models; /v1 and the dashboard answer with this error.
 * `param`: the field or path parameter that held the name. `kind`: the models that the request could have named.
 */
export function unknownModel(name: string, param: string | null, kind?: Model["kind"]): AppError {
  const possible = availableModels().filter((model) => kind === undefined || model.kind === kind);
  return noSuchModel(
    name,
    param,
    nearestNames(
      possible.map(({ id }) => id),
      name,
    ),
  );
}
