import { Ajv2020 } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import { GET } from "../src/app/v1/openapi.json/route.ts";
import { matchPath } from "../src/server/http/endpoint.ts";

// biome-ignore lint/suspicious/noExplicitAny: a document of many shapes, read by path
type Any = any;

/** What the server says of itself, made by the code that answers GET /v1/openapi.json. */
export async function openApiDocument(): Promise<Any> {
  return (await GET(new Request("http://localhost/v1/openapi.json"))).json();
}

const document = openApiDocument();

/** What is documented of a request, by its method and path; null when nothing is. */
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

/** What is documented of an answer's JSON body: of its status, or else of its class. */
export function schemaOf(operation: Any, status: number, type = "application/json"): Any {
  const response = operation.responses[status] ?? operation.responses[`${Math.floor(status / 100)}XX`];
  return response?.content?.[type]?.schema ?? null;
}

const ajv = new Ajv2020({ strict: false, allErrors: true });
// ajv-formats is CommonJS, and its types say so.
(addFormats as unknown as (ajv: Ajv2020) => void)(ajv);
let resolved: Promise<void> | undefined;

/** What is wrong with a value, in a sentence each; fields that are not documented are wrong where the document says so. */
export async function problemsWith(schema: Any, value: unknown): Promise<string[]> {
  resolved ??= document.then((whole) => void ajv.addSchema({ ...whole, $id: "openapi" }, "openapi"));
  await resolved;
  const absolute = JSON.parse(JSON.stringify(schema).replaceAll('"$ref":"#/', '"$ref":"openapi#/'));
  const check = ajv.compile(absolute);
  if (check(value)) return [];
  return (check.errors ?? []).map((each) => `${each.instancePath || "(body)"} ${each.message} ${JSON.stringify(each.params)}`);
}
