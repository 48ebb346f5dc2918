import { Ajv2020 } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import { GET } from "../src/app/v1/openapi.json/route.ts";
import { matchPath } from "../src/server/http/endpoint.ts";

// biome-ignore lint/suspicious/noExplicitAny: a document of many shapes, read by path
type Any = any;

/** The document of GET /v1/openapi.json, from the code that answers it. */
export async function openApiDocument(): Promise<Any> {
  return (await GET(new Request("http://localhost/v1/openapi.json"))).json();
}

const document = openApiDocument();

/** The documented operation of a method and path; null when there is none. */
export async function documented(method: string, pathname: string): Promise<{ template: string; operation: Any } | null> {
  const { paths } = await document;
  const asked = method === "HEAD" ? "get" : method.toLowerCase();
  // Longer templates first: `/v1/models/{id}` takes ids with slashes.
  const templates = Object.keys(paths).sort((a, b) => Number(a.includes("{")) - Number(b.includes("{")) || b.length - a.length);
  for (const template of templates) {
    const wanted = template === "/v1/models/{id}" ? "/v1/models/{id...}" : template;
    if (matchPath(wanted, pathname) === null) continue;
    return asked in paths[template] ? { template, operation: paths[template][asked] } : null;
  }
  return null;
}

/** The documented schema of an answer's body, by its status or its class of statuses. */
export function schemaOf(operation: Any, status: number, type = "application/json"): Any {
  const response = operation.responses[status] ?? operation.responses[`${Math.floor(status / 100)}XX`];
  return response?.content?.[type]?.schema ?? null;
}

const ajv = new Ajv2020({ strict: false, allErrors: true });
// The types of ajv-formats, which is CommonJS, are of another module shape.
(addFormats as unknown as (ajv: Ajv2020) => void)(ajv);
let resolved: Promise<void> | undefined;

/** The errors of a value by its schema, a sentence each, with undocumented fields where the schema excludes them. */
export async function problemsWith(schema: Any, value: unknown): Promise<string[]> {
  resolved ??= document.then((whole) => void ajv.addSchema({ ...whole, $id: "openapi" }, "openapi"));
  await resolved;
  const absolute = JSON.parse(JSON.stringify(schema).replaceAll('"$ref":"#/', '"$ref":"openapi#/'));
  const check = ajv.compile(absolute);
  if (check(value)) return [];
  return (check.errors ?? []).map((each) => `${each.instancePath || "(body)"} ${each.message} ${JSON.stringify(each.params)}`);
}
