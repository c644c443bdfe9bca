# Takes probe.sh from standard input, up to its last line, and runs it on the rest: so that no long argument is logged.
text='' line=
while IFS= read -r line && [ "$line" != 'probe "$@"' ]; do
    text=$text$line'
'
done
if [ "$line" = 'probe "$@"' ]; then
    eval "$text"
    probe "$@"
fi
exit 0
