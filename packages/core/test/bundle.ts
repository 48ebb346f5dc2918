import { fileURLToPath } from "node:url";
import { build } from "esbuild";

/** The suite and its imports as one script that sets the global `results`, for runtimes without a module loader. */
export async function bundledSuite(): Promise<string> {
  const { outputFiles } = await build({
    stdin: {
      contents: `
        import { suite } from "./suite.ts";
        globalThis.results = (async () => {
          const results = [];
          for (const [name, run] of Object.entries(suite)) {
            try { await run(); results.push({ name, problem: null }); }
            catch (error) { results.push({ name, problem: String(error && error.stack || error) }); }
          }
          return results;
        })();`,
      resolveDir: fileURLToPath(new URL(".", import.meta.url)),
    },
    bundle: true,
    format: "iife",
    target: "es2022",
    // Neither browsers nor edge runtimes have Node's modules: a bundle that imports one fails here.
    platform: "neutral",
    write: false,
  });
  return outputFiles[0]?.text ?? "";
}

export type SuiteResult = { name: string; problem: string | null };
