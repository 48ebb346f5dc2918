import type { ProviderId } from "./catalogue.ts";
import type { Model } from "./models.ts";

// Other names for models of the list, from providers' documentation, their clients and other gateways. A name stands for
// a model only when it can mean no other and has the same price; other names are unknown, with the nearest ones in the
// error. Billing, limits and reports use the model of the list.

/**
 * Dated names at the price of the undated one, as OpenAI's page on deprecations and Anthropic's on model ids list them,
 * seen on 2026-11-29. The provider gets the dated name. gpt-4o-2024-05-13 and chatgpt-4o-latest are not here, because
 * they cost more than gpt-4o ($5 and $15). A later snapshot is unknown until it is added here, with its price checked.
 */
const SNAPSHOTS: Readonly<Record<string, string>> = {
  "gpt-5.5-2026-04-23": "gpt-5.5",
  "gpt-5.4-2026-03-05": "gpt-5.4",
  "gpt-5.4-mini-2026-03-17": "gpt-5.4-mini",
  "gpt-5.4-nano-2026-03-17": "gpt-5.4-nano",
  "gpt-5.2-2025-12-11": "gpt-5.2",
  "gpt-5-2025-08-07": "gpt-5",
  "gpt-5-mini-2025-08-07": "gpt-5-mini",
  "gpt-5-nano-2025-08-07": "gpt-5-nano",
  "o3-2025-04-16": "o3",
  "gpt-4.1-2025-04-14": "gpt-4.1",
  "gpt-4.1-mini-2025-04-14": "gpt-4.1-mini",
  "gpt-4o-2024-11-20": "gpt-4o",
  "gpt-4o-2024-08-06": "gpt-4o",
  "gpt-4o-mini-2024-07-18": "gpt-4o-mini",
  "claude-haiku-4-5-20251001": "claude-haiku-4-5",
};

/** Prefixes of model names in other gateways' lists, and in Google's, and the provider that each means. */
const VENDORS: Readonly<Record<string, ProviderId>> = {
  openai: "openai",
  anthropic: "anthropic",
  google: "google",
  gemini: "google",
  models: "google",
  mistralai: "mistral",
  mistral: "mistral",
  deepseek: "deepseek",
  xai: "xai",
  "x-ai": "xai",
};

/** The model that a name stands for, with its name at the provider as `upstreamId`; undefined for none or several. */
export function resolveName(models: ReadonlyMap<string, Model>, name: string): Model | undefined {
  const exact = models.get(name);
  if (exact !== undefined || name.length > LONGEST_NAME) return exact;
  const slash = name.indexOf("/");
  const vendor = Object.hasOwn(VENDORS, name.slice(0, slash)) ? VENDORS[name.slice(0, slash)] : undefined;
  if (slash === -1) return resolveOwn(models, name);
  const own = vendor === undefined ? undefined : resolveOwn(models, name.slice(slash + 1));
  if (own !== undefined && own.provider === vendor) return own;
  // The name at a host of several makers' models, such as `openai/gpt-oss-120b` at Groq.
  return only([...models.values()].filter(({ upstreamId, custom }) => upstreamId === name && !custom));
}

/** Resolves a name without a prefix, as the model's own provider has it. */
function resolveOwn(models: ReadonlyMap<string, Model>, name: string): Model | undefined {
  // Other gateways write Claude's versions with a full stop.
  const plain = name.startsWith("claude-") ? name.replace(/(?<=\d)\.(?=\d)/g, "-").replace("@", "-") : name;
  const exact = models.get(plain);
  if (exact !== undefined) return exact;
  const snapshotOf = Object.hasOwn(SNAPSHOTS, plain) ? SNAPSHOTS[plain] : undefined;
  if (snapshotOf !== undefined) {
    const model = models.get(snapshotOf);
    // An operator's own model with that id may be another model.
    return model === undefined || model.custom ? undefined : { ...model, upstreamId: plain };
  }
  return plain.endsWith("-latest") ? resolveLatest(models, plain.slice(0, -"latest".length)) : undefined;
}

/**
 * `codestral-latest`: the model of that name without a version, or the only one whose name adds just a version. The
 * provider gets the list's name, so the price stays the same when the provider points its alias to a newer model.
 */
function resolveLatest(models: ReadonlyMap<string, Model>, series: string): Model | undefined {
  const itself = models.get(series.slice(0, -1));
  if (itself !== undefined) return itself;
  return only(
    [...models.values()].filter(({ id, custom }) => !custom && id.startsWith(series) && /^\d[\d.-]*$/.test(id.slice(series.length))),
  );
}

function only(models: readonly Model[]): Model | undefined {
  return models.length === 1 ? models[0] : undefined;
}

/** Longer than any name; ids of an operator's own models are at most this long. */
const LONGEST_NAME = 200;

/** Up to three ids of the list that resemble a name, the nearest first; none when no id is near. */
export function nearestNames(ids: Iterable<string>, name: string): string[] {
  const wanted = plainName(name.slice(0, LONGEST_COMPARED));
  const ranked = [...ids]
    .map((id) => {
      const plain = plainName(id);
      return { id, distance: Math.min(difference(wanted, plain), difference(wordsFirst(wanted), wordsFirst(plain))) };
    })
    .filter(({ distance }) => distance <= MAX_DIFFERENCE)
    .sort((a, b) => a.distance - b.distance || a.id.length - b.id.length);
  return ranked.slice(0, 3).map(({ id }) => id);
}

/** The time that a comparison takes grows with the square of this. */
const LONGEST_COMPARED = 64;

/** From 0, equal, to 1, nothing in common. */
const MAX_DIFFERENCE = 0.4;

/** A name without case, maker and date, for comparison. */
function plainName(name: string): string {
  return name
    .toLowerCase()
    .slice(name.lastIndexOf("/") + 1)
    .replace(/[-@](20\d\d-\d\d-\d\d|20\d{6}|latest)$/, "")
    .replaceAll(".", "-");
}

/** `claude-3-5-haiku` as `claude-haiku-3-5`, because makers have moved the version within the name. */
function wordsFirst(name: string): string {
  const parts = name.split("-");
  return [...parts.filter((part) => !/^\d/.test(part)), ...parts.filter((part) => /^\d/.test(part))].join("-");
}

/** The share of the letters that differ. When one name begins with the other, the letters that it adds count half. */
function difference(one: string, other: string): number {
  const [short, long] = one.length < other.length ? [one, other] : [other, one];
  if (short.length >= 3 && long.startsWith(short)) return Math.min(MAX_DIFFERENCE, (long.length - short.length) / (2 * long.length));
  // At least as many letters differ as the lengths do.
  if (long.length - short.length > MAX_DIFFERENCE * long.length) return 1;
  return editDistance(one, other) / Math.max(long.length, 1);
}

/** Levenshtein distance. */
function editDistance(one: string, other: string): number {
  const row = Uint16Array.from({ length: other.length + 1 }, (_, at) => at);
  for (let at = 1; at <= one.length; at++) {
    let before = at - 1;
    row[0] = at;
    for (let to = 1; to <= other.length; to++) {
      const above = row[to] as number;
      const replaced = before + (one.charCodeAt(at - 1) === other.charCodeAt(to - 1) ? 0 : 1);
      row[to] = Math.min(replaced, above + 1, (row[to - 1] as number) + 1);
      before = above;
    }
  }
  return row[other.length] as number;
}
