/** A step of a transcript. */

import { fileUrl } from "../api";
import { bytes, duration } from "../format";
import { Icon, toolIcon } from "../icons";
import { Badge, Html, word } from "../parts";
import type { ArtifactRef, Step, ToolStep } from "../types";
import { Lines } from "./lines";

/** Lines of output above which a card is folded. */
const LONG = 24;

export function Card({ step, id }: { step: Step | undefined; id: string }) {
  if (!step) return <div class="card coming" aria-busy="true" />;
  switch (step.type) {
    case "message":
      return <div class="said"><Html class="md" html={step.html} /><Whole artifact={step.artifact} id={id} /></div>;
    case "thought":
      return <details class="thought"><summary><Icon name="think" /> Reasoning</summary><Html class="md" html={step.html} /><Whole artifact={step.artifact} id={id} /></details>;
    case "plan":
      return (
        <ul class="plan" aria-label="Plan">
          {step.entries.map((entry, n) => <li key={n} class={entry.status}><span class="sr">{word(entry.status)}: </span>{entry.content}</li>)}
        </ul>
      );
    case "notice":
      return <p class="note"><span class="soft">{step.code.replaceAll("_", " ")}</span> {step.text}</p>;
    case "tool":
      return <Tool tool={step} id={id} />;
  }
}

function Whole({ artifact, id }: { artifact: ArtifactRef | null; id: string }) {
  if (!artifact) return null;
  return <a class="whole" href={fileUrl(id, artifact.path)} download>The whole of it ({bytes(artifact.bytes)})</a>;
}

function Tool({ tool, id }: { tool: ToolStep; id: string }) {
  const failed = tool.status === "failed";
  const subject = tool.path || tool.command?.split("\n")[0] || (tool.title !== tool.name ? tool.title : "") || "";
  const isOpen = failed || tool.hunks !== undefined || (tool.kind === "execute" && tool.lines <= LONG);
  const hasBody = Boolean(tool.command?.includes("\n") || tool.hunks || tool.input_html || tool.output_html || tool.network);
  const line = (
    <>
      <Icon name={toolIcon(tool.kind)} />
      <strong>{tool.name}</strong>
      <code class="subject">{subject}</code>
      <span class="state">
        {tool.exit_code !== null && tool.exit_code !== 0 && <span class="exit">exit {tool.exit_code}</span>}
        {tool.duration_secs !== null && <span>{duration(tool.duration_secs)}</span>}
        {tool.status !== "completed" && <Badge of={failed ? "failed" : "active"} small />}
      </span>
    </>
  );
  if (!hasBody) return <div class={`card tool ${tool.status}`}><p class="line">{line}</p></div>;
  return (
    <details class={`card tool ${tool.status} ${tool.kind}`} open={isOpen}>
      <summary>{line}</summary>
      {tool.command?.includes("\n") && <pre class="command">{tool.command}</pre>}
      {tool.hunks && <Lines hunks={tool.hunks} path={tool.path ?? ""} numbers={false} />}
      {tool.input_html && <Html class="input" html={tool.input_html} />}
      <Whole artifact={tool.input_artifact} id={id} />
      {tool.output_html && <Html class={`term${tool.lines > LONG ? " long" : ""}`} html={tool.output_html} />}
      {tool.output_cut && <Whole artifact={tool.output_artifact} id={id} />}
      {tool.network && (
        <ul class="reached" aria-label="Hosts that it reached for">
          {tool.network.map((place, n) => <li key={n} class={place.action}>{place.action === "allow" ? "reached" : "refused"} <code>{place.host}:{place.port}</code> <span class="soft">{place.rule}</span></li>)}
        </ul>
      )}
    </details>
  );
}
