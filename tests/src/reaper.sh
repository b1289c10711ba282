# Removes what a test process left behind. It runs beside the process, in a process group of its own, and reads from a
# pipe what there is: `pid N`, `dir PATH`, `container NAME`, and `gone WHAT` once the owner has removed it itself. The
# pipe ends when the owner does, in whatever way; then whatever is still on the list is killed and removed.
newline='
'
IFS=$newline
set -f
list=
while read -r line; do
  case $line in
    'gone '*)
      kept=
      for entry in $list; do
        [ "${entry#* }" = "${line#gone }" ] || kept=$kept$entry$newline
      done
      list=$kept
      ;;
    *) list=$list$line$newline ;;
  esac
done

for entry in $list; do
  case $entry in 'pid '*) kill -KILL "${entry#pid }" ;; esac
done

# Processes whose `pid` line was never written, since the owner died right after starting them, and those that an
# install script started. All of them work in a folder of ours. A script may start another while we look, so look until
# there is none.
kill_workers() {
  found=
  set +f
  for process in /proc/[0-9]*; do
    folder=$(readlink "$process/cwd")/ || continue
    for entry in $list; do
      case $entry in 'dir '*) ;; *) continue ;; esac
      case $folder in "${entry#dir }"/*) kill -KILL "${process#/proc/}" && found=yes ;; esac
    done
  done
  set -f
  [ -n "$found" ]
}
for try in 1 2 3 4 5 6 7 8 9 10; do
  kill_workers || break
  sleep 0.1
done

# Dying servers may still write, so that a removal can need a second try.
for entry in $list; do
  case $entry in
    'container '*) docker rm --force --volumes "${entry#container }" ;;
    'dir '*)
      for try in 1 2 3 4 5 6 7 8 9 10; do
        rm -rf "${entry#dir }" && break
        sleep 0.2
      done
      ;;
  esac
done
