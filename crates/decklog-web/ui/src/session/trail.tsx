/** What the critic decided of each iteration, beside the change that it judged. */

import { useAnswer } from "../asking";
import { get } from "../api";
import { duration, percent, plural } from "../format";
import { Html, Trouble } from "../parts";
import { A, toTurn } from "../router";
import type { Changes, Iteration, Outline } from "../types";
import { FileLines } from "./file";
import { CheckLine } from "./turn";

export function Trail({ outline }: { outline: Outline }) {
  return <div class="trail">{outline.iterations.map((iteration) => <Judged key={iteration.iteration_number} iteration={iteration} outline={outline} />)}</div>;
}

function Judged({ iteration, outline }: { iteration: Iteration; outline: Outline }) {
  const id = outline.session.id;
  const range = `iteration=${iteration.iteration_number}`;
  const { told: changes, error } = useAnswer((signal) => get<Changes>(`/sessions/${id}/changes?${range}`, signal), []);
  const actor = outline.turns.find((turn) => turn.turn === iteration.actor_turn);
  const critic = outline.turns.find((turn) => turn.turn === iteration.critic_turn);
  const decision = iteration.critic_decision;
  const overruled = iteration.critic_said && iteration.critic_said !== decision;
  return (
    <article class={`judged ${decision.toLowerCase()}`} id={`iteration-${iteration.iteration_number}`}>
      <header>
        <h2>Iteration {iteration.iteration_number}</h2>
        <span class={`decision ${decision.toLowerCase()}`}>{decision}</span>
        {iteration.confidence !== undefined && (
          <span class="confidence" title="How sure the critic is">
            <meter min={0} max={1} value={iteration.confidence} aria-label="Confidence" /> {percent(iteration.confidence)} sure
          </span>
        )}
        <span class="soft">{actor && <A href={toTurn(actor.turn, "transcript")}>turn {actor.turn}, {actor.agent}</A>}{critic && <> · <A href={toTurn(critic.turn, "transcript")}>turn {critic.turn}, {critic.agent}</A></>} · {duration(iteration.actor_duration_secs)}</span>
      </header>
      <div class="sides">
        <div class="said">
          <h3>What the critic said</h3>
          {overruled && <p class="note">It said {iteration.critic_said}; a check failed, so the loop went on.</p>}
          {iteration.feedback_html ? <Html class="md" html={iteration.feedback_html} /> : <p class="soft">{decision === "DONE" ? "Nothing more to do." : "Nothing."}</p>}
          {iteration.summary && <p>{iteration.summary}</p>}
          {actor?.validations.map((check, n) => <CheckLine key={n} check={check} id={id} />)}
        </div>
        <div class="lot">
          <h3>What it judged</h3>
          {iteration.git_files_changed === 0 && <p class="soft">No file changed.</p>}
          {changes?.files.map((file) => <FileLines key={file.path} file={file} id={id} range={range} split={false} />)}
          {error !== null && <Trouble error={error} />}
          {iteration.git_files_changed > 0 && !changes && error === null && <p class="soft">{plural(iteration.git_files_changed, "file")} …</p>}
        </div>
      </div>
    </article>
  );
}
