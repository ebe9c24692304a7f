export function ProblemsView() { return <p />; }
