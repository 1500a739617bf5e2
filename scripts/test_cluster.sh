#!/usr/bin/env bash
# Starts SLURM on this machine alone, and runs the tests of `mocoop run --slurm` on it.
# Usage: bash scripts/test_cluster.sh [PYTEST-ARGUMENT...]
#
# It listens on the loopback address and takes a few minutes. Installs Debian's SLURM if it is missing and may be
# installed. Ends what it has started.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

find_slurm() {
    local missing=() program
    for program in munged slurmctld slurmd sbatch; do command -v $program > /dev/null || missing+=($program); done
    if [ ${#missing[@]} = 0 ]; then return; fi
    if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
        die "${missing[*]} not found; as root on Debian: apt-get install slurmctld slurmd slurm-client munge"
    fi
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends slurmctld slurmd slurm-client munge
}

start_slurm() {  # in FOLDER
    local host
    host=$(hostname -s)
    mkdir -p "$1/munge" "$1/state" "$1/spool"
    head -c 1024 /dev/urandom > "$1/munge/key"
    chmod 755 "$1" "$1/munge"
    chmod 600 "$1/munge/key"
    chown -R munge: "$1/munge"
    cat > "$SLURM_CONF" <<END
ClusterName=mocoop
SlurmctldHost=$host(127.0.0.1)
NodeName=$host NodeAddr=127.0.0.1 CPUs=${CPUS:-2}
PartitionName=debug Nodes=$host Default=YES State=UP
SlurmctldPort=16817
SlurmdPort=16818
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthInfo=socket=$1/munge/socket,cred_expire=10
SlurmUser=root
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
KillWait=10
SchedulerParameters=batch_sched_delay=0,sched_interval=2
StateSaveLocation=$1/state
SlurmdSpoolDir=$1/spool
SlurmctldPidFile=$1/slurmctld.pid
SlurmdPidFile=$1/slurmd.pid
SlurmctldLogFile=$1/slurmctld.log
SlurmdLogFile=$1/slurmd.log
END
    runuser -u munge -- munged --socket="$1/munge/socket" --key-file="$1/munge/key" --pid-file="$1/munge/pid" \
        --log-file="$1/munge/log" --seed-file="$1/munge/seed"
    slurmctld
    slurmd
    for _ in $(seq 50); do
        if sinfo -h -o %T 2> /dev/null | grep -q idle; then return; fi
        sleep 0.2
    done
    die "SLURM does not start: $(tail -n 1 "$1/slurmctld.log")"
}

stop_slurm() {  # in FOLDER
    local file
    scancel --user=root || true
    for _ in $(seq 60); do
        if [ -z "$(squeue -h)" ]; then break; fi
        sleep 0.5
    done
    for file in "$1"/slurmd.pid "$1"/slurmctld.pid "$1"/munge/pid; do
        if [ -f "$file" ]; then kill "$(cat "$file")" || true; fi
    done
    sleep 1
    rm -rf "$1"
}

find_slurm
if [ -z "${PYTHON:-}" ]; then prepare_environment; fi
FOLDER=$(mktemp -d /tmp/mocoop-slurm-XXXXXX)
export SLURM_CONF=$FOLDER/slurm.conf MOCOOP_TEST_CLUSTER=$FOLDER OMP_NUM_THREADS=1
trap 'stop_slurm "$FOLDER"' EXIT
trap 'exit 130' INT TERM
start_slurm "$FOLDER"
cd "$CHECKOUT"
"$PYTHON" -m pytest -q -m "" --basetemp "$FOLDER/tests" tests/protocols/test_cluster.py "$@"
