import { readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { readFence } from "../../src/app/docs/_content/code.ts";

/**
 * Coding agents that install from npm. Each is run as its recipe on the page Clients says, with a message that has the
 * simulator call the agent's own tool for shell commands, so that it takes two steps and leaves a file.
 */
export type CodingAgent = {
  name: string;
  package: string;
  version: string;
  /** The recipe's heading on the page. */
  recipe: string;
  /** Where the recipe's file belongs: in the home directory, or in the project. */
  file?: { language: string; home?: string; project?: string };
  /** In the recipe's command, to ask for another model. */
  instead?: [string, string];
  /** The tool that runs a command, and how it is called. */
  tool: string;
  input(command: string): object;
  /** What lets it run the command without asking a person. */
  flags?: string;
};

const page = path.join(fileURLToPath(new URL("../../", import.meta.url)), "docs/site/clients.md");

const withCommand = (command: string) => ({ command });

export const codingAgents: readonly CodingAgent[] = [
  {
    name: "Claude Code",
    package: "@anthropic-ai/claude-code",
    version: "2.1.332",
    recipe: "Claude Code",
    tool: "Bash",
    input: (command) => ({ command, description: "Write a file" }),
    flags: "--allowedTools Bash",
  },
  {
    name: "Codex",
    package: "@openai/codex",
    version: "0.171.0",
    recipe: "Codex",
    file: { language: "toml", home: ".codex/config.toml" },
    tool: "exec_command",
    input: (cmd) => ({ cmd }),
    flags: "--dangerously-bypass-approvals-and-sandbox",
  },
  {
    name: "opencode, chat completions",
    package: "opencode-ai",
    version: "1.18.33",
    recipe: "opencode",
    file: { language: "json", project: "opencode.json" },
    tool: "bash",
    input: (command) => ({ command, description: "Write a file" }),
  },
  {
    name: "opencode, messages",
    package: "opencode-ai",
    version: "1.18.33",
    recipe: "opencode",
    file: { language: "json", project: "opencode.json" },
    instead: ["quota/gpt-5-mini", "quota-claude/claude-haiku-4-5"],
    tool: "bash",
    input: (command) => ({ command, description: "Write a file" }),
  },
  {
    name: "Continue",
    package: "@continuedev/cli",
    version: "1.5.47",
    recipe: "Continue",
    file: { language: "yaml", project: "config.yaml" },
    tool: "Bash",
    input: withCommand,
    flags: "--auto",
  },
  {
    name: "Cline",
    package: "cline",
    version: "3.0.65",
    recipe: "Cline",
    tool: "run_commands",
    input: (command) => ({ commands: [command] }),
  },
  {
    name: "Qwen Code",
    package: "@qwen-code/qwen-code",
    version: "0.24.4",
    recipe: "Qwen Code",
    tool: "run_shell_command",
    input: (command) => ({ command, description: "Write a file", is_background: false }),
    flags: "--yolo",
  },
  {
    name: "pi",
    package: "@mariozechner/pi-coding-agent",
    version: "0.73.1",
    recipe: "pi",
    file: { language: "json", home: ".pi/agent/models.json" },
    tool: "bash",
    input: withCommand,
  },
  { name: "Grok CLI", package: "@vibe-kit/grok-cli", version: "0.0.34", recipe: "Grok CLI", tool: "bash", input: withCommand },
];

export type Recipe = { file: string | undefined; command: string };

/** What the page says of an agent: its file, and its command. Throws when the page has none. */
export function recipeOf({ recipe, file }: Pick<CodingAgent, "recipe" | "file">): Recipe {
  const section = readFileSync(page, "utf8")
    .split(/^## /m)
    .find((part) => part.startsWith(`${recipe}\n`));
  const fences = [...(section ?? "").matchAll(/^```(\S+.*)\n([\s\S]*?)^```$/gm)];
  const textIn = (language: string) => fences.find(([, info]) => readFence(info ?? "").language === language)?.[2];
  const command = textIn("sh");
  const text = file === undefined ? undefined : textIn(file.language);
  if (command === undefined || (file !== undefined && text === undefined))
    throw new Error(`docs/site/clients.md has no recipe of ${recipe}`);
  return { file: text, command };
}
